#!/usr/bin/env python3
"""Restores: firn beside what QEMU can do by itself.

    bench_restore.py [--sizes 1,2,4] [--cache cold,warm] [--runs 5]
                     [--peers firn,firn-hints,…] [--json FILE] [--write-docs]
    bench_restore.py --faults [--runs 5]
    bench_restore.py --sockets [--runs 5] [--also "WHAT=PROGRAM OPTION…"]…
    bench_restore.py --big [--runs 5]
    bench_restore.py --from FILE [--write-docs]

Makes one image of each kind of a guest of each size and has all peers bring it
back in turn; prints medians (least-greatest) and what the figures must show.
--faults: what a page costs that the guest touches, beside a postcopy migration
from a live QEMU. --sockets: the same with one socket and with two, and with
other builds of firn (-DSEND_BUFFER_BYTES=…), in turn. --big: 32 GiB of which 1 GiB is written, beside 2 GiB with the
same program. Peers: see --help."""
import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../lib"))
import figures  # noqa: E402
import measure  # noqa: E402
import restore_report as report  # noqa: E402
from restorers import FIRN, WHAT, FirnRestore, Images  # noqa: E402
from savers import Refused, lab, new_repository  # noqa: E402
from vm import Vm, folder  # noqa: E402

PEERS = ("firn firn-hints firn-head firn-off firn-eager private file zstd"
         " mapped loadvm")
BIG_MEMORY = "memory-backend-ram,id=pc.ram,size=32G,reserve=off"


def say(text):
    print(text, flush=True)


def answers(vm, begin, filled=lambda: None):
    """What the guest does as soon as it runs: it touches its working set and,
    when `filled` returns, all its memory."""
    beat = vm.wait_beat(begin)
    vm.beats.send("touch")
    touched, working = vm.beats.wait_line("TOUCHED", beat.t, 120)
    filled()
    vm.beats.send("scan")
    scanned, whole = vm.beats.wait_line("TOUCHED", touched, 300)
    return {
        "first_s": beat.t - begin,
        "responsive_s": touched - begin,
        "full_s": scanned - begin,
        "touch_faults": working["faults"],
        "touch_p50_us": working["p50"],
        "touch_p99_us": working["p99"],
        "scan_faults": whole["faults"],
    }


def firn_figures(restore):
    told = restore.said.get("resident", {})
    return {
        "firn": {k: told.get(k) for k in (
            "faults", "fault_p50_us", "fault_p99_us", "prefetched_pages",
            "near_pages", "filled_pages", "read_bytes", "elapsed_ms")},
        "resident_s": told["elapsed_ms"] / 1000 if told else float("nan"),
        "peak_mib": restore.peak_mib,
    }


class Bench:
    def __init__(self, args):
        self.args = args
        self.rows = []
        self.refused = {}
        self.random = random.Random(1)

    def once(self, images, peer):
        vm = images.vm
        if peer == "firn":
            images.forget_hints()
        try:
            if peer not in FIRN:
                return answers(vm, images.start(peer))
            restore = images.start_firn(peer)
            if peer == "firn-eager" or not self._starts(restore):
                restore.wait()
            row = answers(vm, restore.begin, restore.wait)
            row.update(firn_figures(restore))
            return row
        finally:
            try:
                vm.connect(2)
            except Exception:  # It never came up.
                pass
            vm.kill()

    @staticmethod
    def _starts(restore):
        """False when firn ends without having said that the VM runs."""
        while "running" not in restore.said:
            if restore.process.poll() is not None:
                return False
            time.sleep(0.001)
        return True

    def measured(self, images, peer, size, cache, run):
        if peer in self.refused:
            return
        (measure.drop_from_cache if cache == "cold"
         else measure.read_into_cache)(images.of(peer))
        # All the memory that the guest will need, whoever fills it.
        measure.pretouch("/dev/shm", images.vm.fill_mib << 20)
        try:
            row = self.once(images, peer)
        except Refused as why:
            self.refused[peer] = str(why)
            say(f"{peer}: refused: {why}")
            return
        measure.drop_from_cache(images.of(peer))
        row.update(size=size, cache=cache, peer=peer, run=run)
        row["read_mb"] = (row["firn"]["read_bytes"] or 0) / 1e6 if (
            peer in FIRN) else measure.allocated(images.of(peer)) / 1e6
        self.rows.append(row)
        figures.keep(self.args, {"rows": self.rows, "refused": self.refused})
        say(f"{size} GiB {cache} run {run + 1} {peer}: first"
            f" {row['first_s']:.3f} s, responsive {row['responsive_s']:.3f} s,"
            f" full {row['full_s']:.2f} s, {row['touch_faults']} faults in the"
            f" working set, p50 {row['touch_p50_us']} us, {row.get('firn')}")

    def size(self, size):
        vm = Vm(int(size * 1024))
        say(f"-- {size} GiB guest: {vm.boot()}")
        images = Images(vm, folder(self.args.disk), self.args.peers)
        # Those with hints come right behind the one that makes them.
        with_hints = [p for p in self.args.peers
                      if p in ("firn-hints", "firn-head", "firn-off")]
        others = [p for p in self.args.peers if p not in with_hints]
        try:
            for run in range(self.args.runs):
                for cache in self.args.cache:
                    self.random.shuffle(others)
                    for peer in others:
                        self.measured(images, peer, size, cache, run)
                        for more in with_hints if peer == "firn" else ():
                            self.measured(images, more, size, cache, run)
        finally:
            vm.close()
            images.remove()

    def run(self):
        for size in self.args.sizes:
            self.size(size)
        return {"rows": self.rows, "refused": self.refused}


# What a touched page costs.


def postcopy_once(source):
    """A postcopy migration from the running `source`, which goes on
    afterwards."""
    target = Vm(source.mib, source.fill_mib)
    try:
        begin = target.start(target.command + ["-incoming", "defer"])
        target.connect()
        target.prepare("postcopy-ram", "postcopy-blocktime")
        target.qmp("migrate-incoming", uri=f"unix:{target.dir}/incoming")
        source.prepare("postcopy-ram", max_bandwidth=0, downtime_limit=300)
        source.qmp("migrate", uri=f"unix:{target.dir}/incoming")
        source.qmp("migrate-start-postcopy")
        row = answers(target, begin, source.wait_migration)
        told = target.qmp("query-migrate")
        row["blocktime_ms"] = told.get("postcopy-blocktime")
        return row
    finally:
        target.close()
        source.cont()


def faults(runs):
    mib = 1024
    where = folder("/dev/shm")
    mine = Vm(mib)
    mine.boot()
    new_repository(where)
    lab.firn("--repo", f"{where}/repo", "snapshot", "--qmp", mine.qmp_path)
    mine.kill()
    source = Vm(mib)
    source.boot()
    rows = []
    try:
        for run in range(runs):
            for peer in ("postcopy", "firn"):
                if peer == "postcopy":
                    row = postcopy_once(source)
                else:
                    # Not two guests at once on two processors.
                    source.qmp("stop")
                    for name in measure.files_below(f"{where}/repo/hints"):
                        os.unlink(name)
                    restore = FirnRestore(f"{where}/repo")
                    row = answers(mine, restore.begin, restore.wait)
                    row.update(firn_figures(restore))
                    mine.connect()
                    mine.kill()
                    source.qmp("cont")
                row.update(peer=peer, run=run)
                say(str(row))
                rows.append(row)
    finally:
        source.close()
        mine.close()
    return {"faults": rows}


def sockets(runs, also):
    """Pages touched while all others are filled in, one way and another."""
    firn = lab.firn_path()
    ways = {"one socket": (firn,), "two sockets": (firn, "--preempt")}
    for word in also:
        what, _, command = word.partition("=")
        ways[what] = tuple(command.split())
    where = folder("/dev/shm")
    vm = Vm(1024)
    vm.boot()
    new_repository(where)
    lab.firn("--repo", f"{where}/repo", "snapshot", "--qmp", vm.qmp_path)
    vm.kill()
    rows = []
    order = random.Random(1)
    try:
        for run in range(runs):
            for what in order.sample(list(ways), len(ways)):
                for name in measure.files_below(f"{where}/repo/hints"):
                    os.unlink(name)
                program, *options = ways[what]
                restore = FirnRestore(f"{where}/repo", options,
                                      program=program)
                row = answers(vm, restore.begin, restore.wait)
                row.update(firn_figures(restore), what=what, run=run)
                say(str(row))
                rows.append(row)
                vm.connect()
                vm.kill()
    finally:
        vm.close()
    return {"sockets": rows}


def big(runs):
    """The same program in 2 GiB and in 32."""
    rows = []
    guests = {2: Vm(2048, 512), 32: Vm(32768, 512, memory=BIG_MEMORY)}
    places = {size: folder("/dev/shm") for size in guests}
    for size, vm in guests.items():
        say(f"-- {size} GiB guest: {vm.boot()}")
        new_repository(places[size])
        lab.firn("--repo", f"{places[size]}/repo", "snapshot", "--qmp",
                 vm.qmp_path)
        vm.kill()
    for run in range(runs):
        for size, vm in guests.items():
            try:
                restore = FirnRestore(f"{places[size]}/repo")
                row = answers(vm, restore.begin, restore.wait)
            finally:
                vm.connect()
                vm.kill()
            row.update(firn_figures(restore), size=size, run=run)
            say(str(row))
            rows.append(row)
    return {"big": rows}


def parse():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter,
        epilog="\n".join(f"  {k:<16}{v}" for k, v in WHAT.items()))
    p.add_argument("--sizes", default="1,2,4", help="GiB")
    p.add_argument("--cache", default="cold,warm")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--peers", default=PEERS.replace(" ", ","))
    p.add_argument("--disk", default="/var/tmp", help="where the images go")
    p.add_argument("--faults", action="store_true")
    p.add_argument("--sockets", action="store_true")
    p.add_argument("--also", action="append", default=[])
    p.add_argument("--big", action="store_true")
    figures.add_options(p)
    args = p.parse_args()
    args.peers = args.peers.split(",")
    unknown = set(args.peers) - set(WHAT)
    if unknown:
        p.error(f"no such peer: {', '.join(sorted(unknown))}")
    args.cache = args.cache.split(",")
    args.sizes = [float(s) if "." in s else int(s)
                  for s in args.sizes.split(",")]
    return args


def measured(args):
    if args.faults:
        return faults(args.runs)
    if args.sockets:
        return sockets(args.runs, args.also)
    return big(args.runs) if args.big else Bench(args).run()


def main():
    args = parse()
    found = figures.found(args, lambda: measured(args))
    report.tell(found, say, args.write_docs)


main()
