#!/usr/bin/env python3
"""A series of images of one VM: firn beside restic and borg.

    bench_series.py [--size 1] [--images 6] [--stores firn,restic,borg,borg-64k]
                    [--json FILE] [--write-docs]
    bench_series.py --from FILE [--write-docs]

A fifth of the guest's pages is written between two images. At each instant the
VM stands still: firn takes its snapshot, the others get the same memory as a raw
file, which they find in the page cache; making that file is not in their time.
Prints bytes and seconds an image, with what its new pages need alone."""
import argparse
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../lib"))
import figures  # noqa: E402
import measure  # noqa: E402
import new_pages  # noqa: E402
from capture_report import DOCUMENT  # noqa: E402
from savers import lab  # noqa: E402
from table import cell, into_document, markdown, median, ratio_row  # noqa: E402
from vm import Vm, folder  # noqa: E402

WRITTEN = 0.2


def say(text):
    print(text, flush=True)


class Store:
    """A repository below `where`. `init` and `save(image)` are command lines,
    to which `env` is added."""

    def __init__(self, name, where, init, save, env=None):
        self.name = name
        self.path = f"{where}/{name}"
        self.save = save
        self.env = {"HOME": where, **(env or {})}
        measure_run([*init, self.path], self.env)

    def put(self, image, number):
        """{s, cpu_s, mb, peak_mib} of one more image."""
        before = measure.allocated(self.path)
        done = measure_run(self.save(self.path, image, number), self.env)
        return {"store": self.name, "image": number, "s": done.wall_s,
                "cpu_s": done.cpu_s, "peak_mib": done.peak_mib,
                "mb": (measure.allocated(self.path) - before) / 1e6}


def measure_run(argv, env):
    done = measure.run(argv, env=env)
    assert done.status == 0, (argv, done.status, done.out, done.err)
    return done


def make_store(name, where, vm):
    if name == "firn":
        return Store(name, where, [lab.firn_path(), "init"],
                     lambda path, image, number: [
                         lab.firn_path(), "--repo", path, "-q", "snapshot",
                         "--qmp", vm.qmp_path])
    if name == "restic":
        return Store(name, where, ["restic", "-q", "init", "--repo"],
                     lambda path, image, number: [
                         "restic", "-q", "--repo", path, "backup", image],
                     {"RESTIC_PASSWORD": "bench",
                      "RESTIC_CACHE_DIR": f"{where}/restic-cache"})
    chunker = {"borg": "buzhash,19,23,21,4095", "borg-64k": "fixed,65536"}
    return Store(name, where, ["borg", "init", "-e", "none"],
                 lambda path, image, number: [
                     "borg", "create", "--files-cache", "disabled",
                     "--compression", "zstd,1", "--chunker-params",
                     chunker[name], f"{path}::{number}", image],
                 {"BORG_BASE_DIR": f"{where}/borg-base"})


def floor(images, number):
    """What the last image's new pages need alone."""
    old = images[-2] if len(images) > 1 else "/dev/null"
    found = new_pages.between(old, images[-1])
    return {"store": "floor", "image": number, "mb": found["bytes"] / 1e6,
            "new": found["new"], "pages": found["pages"] - found["zero"]}


def run(args):
    where = folder(args.disk)
    vm = Vm(args.size * 1024, rate=0)
    say(f"-- {args.size} GiB guest: {vm.boot()}")
    rows, images = [], []
    try:
        stores = [make_store(n, where, vm) for n in args.stores]
        for number in range(args.images):
            vm.qmp("stop")
            images.append(f"{where}/image{number}")
            vm.qmp("pmemsave", val=0, size=vm.mib << 20, filename=images[-1])
            # As every store finds it: on the disk and in the page cache.
            measure.flush(images[-1])
            for store in stores[number % len(stores):] + (
                    stores[:number % len(stores)]):
                measure.read_into_cache(images[-1])
                rows.append(store.put(images[-1], number))
                say(str(rows[-1]))
            rows.append(floor(images, number))
            say(str(rows[-1]))
            if len(images) > 1:
                os.unlink(images.pop(0))
            vm.qmp("cont")
            vm.beats.ask(f"dirty {int(vm.fill_mib * 256 * WRITTEN)}"
                         f" {number * 7919}", "DIRTIED")
            time.sleep(1)
    finally:
        vm.close()
        shutil.rmtree(where, ignore_errors=True)
    return {"series": rows, "size": args.size}


def report(found):
    rows = found["series"]

    def of(store, name, first):
        return [r.get(name) for r in rows
                if r["store"] == store and (r["image"] == 0) == first]

    names = list(dict.fromkeys(r["store"] for r in rows))
    table = [[n.replace("floor", "**floor**: its new pages alone")]
             + [cell(of(n, k, first)) for first in (True, False)
                for k in ("s", "cpu_s", "mb")]
             + [cell(of(n, "peak_mib", False))] for n in names]
    peers = [n for n in names if n in ("restic", "borg")]

    def ratio(name, first):
        best = min((median(of(p, name, first)) for p in peers),
                   default=float("nan"))
        return median(of("firn", name, first)) / best

    new = of("floor", "new", False)
    return "\n".join([
        f"### {found['size']} GiB, {1 + len(new)} images;"
        f" {cell(new)} pages new in each later one, of"
        f" {cell(of('floor', 'pages', False))} that are not zero\n",
        markdown(["", "first: s", "CPU s", "MB", "later: s", "CPU s", "MB",
                  "peak MiB"], table), "",
        markdown(["firn", "", "target", "met"], [
            ratio_row("first image's bytes, to the better of restic and borg",
                      ratio("mb", True), 1.0),
            ratio_row("a later image's bytes, to the better",
                      ratio("mb", False), 0.3),
            ratio_row("a later image's bytes, to its new pages alone",
                      median(of("firn", "mb", False))
                      / median(of("floor", "mb", False)), 1.25),
            ratio_row("a later image's seconds, to the faster",
                      ratio("s", False), 0.25),
            ratio_row("the first image's seconds, to the faster",
                      ratio("s", True), 0.25)])])


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--size", type=int, default=1, help="GiB")
    p.add_argument("--images", type=int, default=6)
    p.add_argument("--stores", default="firn,restic,borg,borg-64k")
    p.add_argument("--disk", default="/var/tmp", help="where all goes")
    figures.add_options(p)
    args = p.parse_args()
    args.stores = args.stores.split(",")
    found = figures.found(args, lambda: run(args))
    text = report(found)
    say("\n" + text)
    if args.write_docs:
        into_document(DOCUMENT, "series", text)


main()
