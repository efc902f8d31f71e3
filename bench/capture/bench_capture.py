#!/usr/bin/env python3
"""Captures of live guests: firn beside what QEMU can do by itself.

    bench_capture.py [--sizes 1,2,4] [--dest tmpfs,ext4] [--runs 5]
                     [--peers firn,firn-1,…] [--json FILE] [--write-docs]
    bench_capture.py --big [--runs 5]
    bench_capture.py --from FILE [--write-docs]

Boots a guest of each size (GiB) once and has all peers save it in turn, in an
order that changes from run to run; prints medians (least–greatest) and what the
figures must show. --big: a guest of 32 GiB of which 1 GiB is written, against a
migration to a process that reads and drops all. Peers: see --help."""
import argparse
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../lib"))
import capture_report as report  # noqa: E402
import figures  # noqa: E402
import measure  # noqa: E402
import new_pages  # noqa: E402
from savers import SAVERS, WHAT, Refused, lab  # noqa: E402
from vm import Vm, folder  # noqa: E402

PEERS = ("firn firn-second firn-1 firn-2 firn-4 firn-fast firn-none"
         " firn-background file zstd mapped background savevm")
# Where the disk is what counts, those that differ by nothing else are left out.
DISK_PEERS = ("firn firn-second firn-1 firn-fast firn-none file zstd"
              " mapped savevm")
DIRTY = 0.05


def say(text):
    print(text, flush=True)


class Capture:
    """One peer's save of a running guest, timed."""

    def __init__(self, vm, where, context):
        self.vm = vm
        self.where = where
        self.context = {**context, "begin": self._begin, "end": self._end}
        self.t0 = self.t1 = None

    def _cpu(self):
        """QEMU's without its vCPU, with the tools it started."""
        return (measure.cpu_s(self.vm.pid, children=True)
                - measure.cpu_s(self.vm.pid, self.vcpu))

    def _begin(self):
        self.cpu0 = self._cpu()
        self.t0 = time.monotonic()

    def _end(self):
        self.t1 = self.t1 or time.monotonic()

    def run(self, save):
        beats = self.vm.beats
        self.vcpu = self.vm.vcpu()
        measure.pretouch(self.where, int(self.vm.fill_mib * 0.6) << 20)
        calm = time.monotonic()
        time.sleep(0.6)
        before = measure.allocated(self.where)
        self._begin()
        begun = self.t0
        told = save(self.vm, self.where, self.context) or {}
        self._end()
        qemu_cpu = self._cpu() - self.cpu0
        flush_s = sum(map(measure.flush, measure.files_below(self.where)))
        beats.wait_beat(time.monotonic() + 0.05)
        gap = beats.gap_ms(self.t0, self.t1 + 0.05)
        usual = beats.speed(calm, begun)
        return {
            "wall_s": self.t1 - self.t0,
            "disk_s": self.t1 - self.t0 + flush_s,
            "downtime_ms": gap,
            "speed": beats.speed(self.t0, self.t1, gap) / usual,
            "qemu_cpu_s": qemu_cpu,
            "stored_mb": (measure.allocated(self.where) - before) / 1e6,
            **told,
        }


def empty(where):
    for name in os.listdir(where):
        path = os.path.join(where, name)
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def asked_downtime_limit(vm, where):
    """What firn as it comes asks of QEMU: the peers get the same."""
    seen = []

    def look():
        for _ in range(400):
            time.sleep(0.005)
            if vm.qmp("query-migrate").get("status") == "active":
                seen.append(
                    vm.qmp("query-migrate-parameters")["downtime-limit"])
                return

    SAVERS["firn"](vm, where, {"begin": lambda: None, "on_thread": look})
    empty(where)
    return seen[0] if seen else 300


class Bench:
    def __init__(self, args):
        self.args = args
        self.rows = []
        self.refused = {}
        self.random = random.Random(1)

    def note(self, size, dest, peer, run, row):
        row.update(size=size, dest=dest, peer=peer, run=run)
        self.rows.append(row)
        self.keep()
        say(f"{size} GiB {dest} run {run + 1} {peer}: wall"
            f" {row['wall_s']:.2f} s, downtime {row['downtime_ms']:.0f} ms,"
            f" speed {100 * row['speed']:.0f} %,"
            f" stored {row['stored_mb']:.0f} MB, CPU"
            f" {row.get('firn_cpu_s', 0):.2f} + {row['qemu_cpu_s']:.2f} s"
            + (f", peak {row['peak_mib']:.0f} MiB"
               if "peak_mib" in row else ""))

    def save(self, vm, where, size, dest, peer, run, context):
        if peer in self.refused:
            return None
        try:
            row = Capture(vm, where, context).run(SAVERS[peer])
        except Refused as why:
            say(f"{peer}: refused: {why}")
            self.refused[peer] = str(why)
            return None
        self.note(size, dest, peer, run, row)
        return row

    def second(self, vm, where, size, dest, run, context):
        """A second snapshot into the repository of a first, after a twentieth
        of the pages was written. In the last run the guest's memory is also
        taken as it is right behind each of both, to see what has changed."""
        images = [f"{self.args.disk}/firn-bench-{os.getpid()}-{i}"
                  for i in "ab"] if run == self.args.runs - 1 else []
        pages = int(vm.mib * 256 * DIRTY)
        try:
            if images:
                new_pages.take_image(vm, images[0])
            vm.beats.ask(f"dirty {pages} {self.random.randrange(1 << 20)}",
                         "DIRTIED")
            time.sleep(self.args.pause)
            row = self.save(vm, where, size, dest, "firn-second", run, context)
            if row and images:
                new_pages.take_image(vm, images[1])
                found = new_pages.between(*images)
                row["floor_mb"] = found["bytes"] / 1e6
                say(f"  new {row['stored_mb']:.1f} MB; {found['new']} pages"
                    f" are new, {row['floor_mb']:.1f} MB alone")
        finally:
            for path in filter(os.path.exists, images):
                os.unlink(path)

    def rotate(self, vm, size, dest, where, context):
        wanted = self.args.peers[dest]
        peers = [p for p in wanted if p != "firn-second"]
        for run in range(self.args.runs):
            self.random.shuffle(peers)
            for peer in peers:
                done = self.save(vm, where, size, dest, peer, run, context)
                if done and peer == "firn" and "firn-second" in wanted:
                    self.second(vm, where, size, dest, run, context)
                empty(where)

    def size(self, size):
        vm = Vm(int(size * 1024), rate=self.args.rate)
        say(f"-- {size} GiB guest: {vm.boot()}")
        try:
            for dest in self.args.dest:
                where = folder(self.args.folders[dest])
                limit = self.args.downtime_limit or asked_downtime_limit(
                    vm, where)
                say(f"downtime-limit of all: {limit} ms")
                self.rotate(vm, size, dest, where, {"downtime_limit": limit})
                os.rmdir(where)
            say(f"guest: {vm.beats.ask('verify', 'VERIFIED')[1]}")
        finally:
            vm.close()

    def figures(self):
        return {"rows": self.rows, "refused": self.refused,
                "runs": self.args.runs, "rate": self.args.rate}

    def keep(self):
        """After each row: a run that is broken off is worth what it has."""
        figures.keep(self.args, self.figures())

    def run(self):
        for size in self.args.sizes:
            self.size(size)
        return self.figures()


def parse():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter,
        epilog="\n".join(f"  {k:<16}{v}" for k, v in WHAT.items()))
    p.add_argument("--sizes", default="1,2,4", help="GiB")
    p.add_argument("--dest", default="tmpfs,ext4")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--peers", help="all unless told; on ext4 without those"
                   " that differ only in memory")
    p.add_argument("--rate", type=int, default=20, help="MB/s the guest writes")
    p.add_argument("--pause", type=float, default=2,
                   help="s between the writes and the second snapshot")
    p.add_argument("--downtime-limit", type=int,
                   help="ms; unless told, what firn as it comes asks for")
    p.add_argument("--disk", default="/var/tmp",
                   help="where images on ext4 go")
    p.add_argument("--big", action="store_true")
    figures.add_options(p)
    args = p.parse_args()
    asked = args.peers and args.peers.split(",")
    unknown = set(asked or ()) - set(SAVERS)
    if unknown:
        p.error(f"no such peer: {', '.join(sorted(unknown))}")
    args.peers = {"tmpfs": asked or PEERS.split(),
                  "ext4": asked or DISK_PEERS.split()}
    args.dest = args.dest.split(",")
    args.folders = {"tmpfs": "/dev/shm", "ext4": args.disk}
    args.sizes = [float(s) if "." in s else int(s)
                  for s in args.sizes.split(",")]
    return args


def measured(args):
    if args.big:
        import big
        return big.run(args.runs, say)
    return Bench(args).run()


def main():
    args = parse()
    found = figures.found(args, lambda: measured(args))
    report.tell(found, say, args.write_docs)


main()
