#!/usr/bin/env python3
"""How fast firn serve is, with the kernel's own cost beside it.

    bench_pager.py [--build DIR] [--work DIR] [--runs N] [--size GIB] [PART...]

Parts: latency fill first hints bytes clients. Images are made of the files
under /usr (as a guest's memory: text, code, tables), shifted when they repeat.
Prints medians, and the least and greatest of the runs, one line a figure."""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

GIB = 1 << 30
PAGE = 4096


def say(name, values, unit, note=""):
    values = sorted(values)
    print("%-44s %9.2f %-5s [%.2f .. %.2f]  %s" % (
        name, statistics.median(values), unit, values[0], values[-1], note),
        flush=True)
    return statistics.median(values)


def usr_bytes():
    shift = 0
    while True:
        for top in ("/usr/lib", "/usr/bin", "/usr/share"):
            for folder, _, names in os.walk(top):
                for name in sorted(names):
                    try:
                        with open(os.path.join(folder, name), "rb") as f:
                            f.seek(shift)
                            while data := f.read(1 << 20):
                                yield data
                    except OSError:
                        continue
        shift += 512


def make_image(path, size, noise=False):
    if os.path.exists(path) and os.path.getsize(path) == size:
        return
    left = size
    with open(path, "wb") as f:
        source = iter(lambda: os.urandom(1 << 20), b"") if noise \
            else usr_bytes()
        for data in source:
            f.write(data[:left])
            left -= min(left, len(data))
            if left == 0:
                break


class Bench:
    def __init__(self, a):
        self.a = a
        self.repo = a.work + "/repo"
        self.sock = a.work + "/sock"
        os.makedirs(a.work, exist_ok=True)
        if not os.path.exists(self.repo):
            self.firn("init")
        self.ids = {}

    def firn(self, *words):
        return subprocess.run([self.a.build + "/cli/firn", "-q", "--repo",
                               self.repo, *words], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.strip()

    def image(self, size, noise=False):
        path = "%s/image-%d%s" % (self.a.work, size >> 20,
                                  "-noise" if noise else "")
        make_image(path, size, noise)
        if path not in self.ids:
            start = time.monotonic()
            self.ids[path] = self.firn("import", "--format", "raw", path)
            print("import of %d MiB: %.0f MiB/s" % (
                size >> 20, (size >> 20) / (time.monotonic() - start)))
        return path, self.ids[path]

    def forget_hints(self, sid):
        path = "%s/hints/%s" % (self.repo, sid)
        if os.path.exists(path):
            os.unlink(path)

    def start(self, sid, *words):
        server = subprocess.Popen(
            [self.a.build + "/cli/firn", "--repo", self.repo, "--json",
             "serve", sid, "--socket", self.sock, *words], text=True,
            stdout=subprocess.PIPE)
        server.stdout.readline()
        return server

    def stop(self, server):
        server.send_signal(signal.SIGTERM)
        out, _ = server.communicate()
        return [json.loads(x) for x in out.splitlines()]

    def client(self, image, *words, sock=True):
        out = subprocess.run(
            [self.a.build + "/tests/interop/uffd_client", "--image", image,
             *(("--socket", self.sock) if sock else ()), *words],
            check=True, text=True, stdout=subprocess.PIPE).stdout
        return json.loads(out)

    def once(self, sid, image, serve, client):
        server = self.start(sid, "--once", *serve)
        seen = self.client(image, *client)
        out, _ = server.communicate()
        return seen, json.loads(out.splitlines()[-1])

    def latency(self):
        """One touch a frame, so that each is a fault."""
        image, sid = self.image(512 << 20)
        touch = ("--stride", "8", "--pages", "15000")
        kernel, cold, warm = [], [], []
        for i in range(self.a.runs):
            words = touch + ("--seed", str(i))
            kernel.append(self.client(image, *words, sock=False))
            server = self.start(sid, "--fill", "off", "--prefetch", "off",
                                "--cache", "1G")
            cold.append(self.client(image, *words))
            warm.append(self.client(image, *words))
            self.stop(server)
        for name, runs, limit in (("kernel's own fault", kernel, None),
                                  ("fault, frame in the cache", warm, 25),
                                  ("fault, read and decompressed", cold, 80)):
            say(name + " p50", [r["p50_us"] for r in runs], "us",
                "target %d" % limit if limit else "")
            say(name + " p99", [r["p99_us"] for r in runs], "us")

    def fill(self):
        for noise in (False, True):
            size = 1 << 30
            image, sid = self.image(size, noise)
            kind = "raw" if noise else "zstd 1"
            for threads in range(1, os.cpu_count() + 1):
                least, got, least_cpu, got_cpu = [], [], [], []
                for _ in range(self.a.runs):
                    out = subprocess.run(
                        # As urgent as the workers of serve.
                        ["nice", "-n", "5",
                         self.a.build + "/bench/pager/series", image,
                         str(size), str(threads)], check=True, text=True,
                        stdout=subprocess.PIPE).stdout
                    told = json.loads(out)
                    least.append(told["bytes_per_s"] / 1e9)
                    least_cpu.append(told["bytes_per_cpu_s"] / 1e9)
                    server = self.start(sid, "--fill-threads", str(threads),
                                        "--prefetch", "off", "--cache", "1M")
                    c = subprocess.Popen(
                        [self.a.build + "/tests/interop/uffd_client",
                         "--image", image, "--socket", self.sock, "--pages",
                         "1", "--hold"], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE)
                    c.stdout.readline()
                    told = self.stop(server)
                    c.communicate(b"\n")
                    data = told[-1]["filled_pages"] * PAGE
                    got.append(data / told[-1]["resident_us"] / 1e3)
                    got_cpu.append(data / told[-1]["worker_cpu_us"] / 1e3)
                a = say("series, %s, %d threads" % (kind, threads), least,
                        "GB/s")
                b = say("fill, %s, %d threads" % (kind, threads), got, "GB/s")
                print("%-44s %9.2f        target 0.80" % ("  ratio", b / a))
                # On a machine that does other things as well this one counts.
                a = say("  series, a second of processor", least_cpu, "GB/s")
                b = say("  fill, a second of processor", got_cpu, "GB/s")
                print("%-44s %9.2f        target 0.80" % ("  ratio", b / a),
                      flush=True)

    def first(self):
        for mib in (256, 8192):
            image, sid = self.image(mib << 20)
            ms = [self.once(sid, image, ("--prefetch", "off"),
                            ("--pages", "100", "--seed", str(i)))[0]
                  ["first_ms"] for i in range(self.a.runs)]
            say("first touch, %d MiB" % mib, ms, "ms", "target 20")

    def hints(self):
        size = self.a.size * GIB
        image, sid = self.image(size)
        touch = ("--pages", str(size // PAGE // 10))
        time_ratio, gone = [], []
        for i in range(self.a.runs):
            self.forget_hints(sid)
            words = touch + ("--seed", str(i + 1))
            one, told1 = self.once(sid, image, ("--fill", "off"), words)
            two, told2 = self.once(sid, image, ("--fill", "off"), words)
            time_ratio.append(two["total_ms"] / one["total_ms"])
            gone.append(100 - 100 * told2["faults"] / told1["faults"])
            print("  run 1: %.0f ms, %d faults; run 2: %.0f ms, %d faults, %d "
                  "prefetched, %d of %d samples unasked" % (
                      one["total_ms"], told1["faults"], two["total_ms"],
                      told2["faults"], told2["prefetched_pages"],
                      told2["prefetch_unasked"], told2["prefetch_sampled"]))
        say("faults gone in the second run", gone, "%", "target 90")
        say("time of the second run to the first", time_ratio, "",
            "target 0.40")

    def bytes(self):
        size = self.a.size * GIB
        image, sid = self.image(size)
        for memory in ("anon", "memfd", "huge"):
            for fill in ("on", "off"):
                seen, told = self.once(
                    sid, image, ("--fill", fill, "--prefetch", "off"),
                    ("--bytes", "--memory", memory))
                print("%d GiB, %s, fill %s: %d pages touched, %d wrong, "
                      "%.1f s, %d faults" % (
                          self.a.size, memory, fill, seen["touched"],
                          seen["wrong"], seen["total_ms"] / 1e3,
                          told["faults"]), flush=True)

    def clients(self):
        image, sid = self.image(GIB)
        server = self.start(sid, "--prefetch", "off")
        all_ = [subprocess.Popen(
            [self.a.build + "/tests/interop/uffd_client", "--image", image,
             "--socket", self.sock, "--bytes", "--seed", str(i)], text=True,
            stdout=subprocess.PIPE) for i in range(4)]
        for c in all_:
            seen = json.loads(c.communicate()[0])
            print("4 clients, 1 GiB: %d touched, %d wrong, %.1f s" % (
                seen["touched"], seen["wrong"], seen["total_ms"] / 1e3))
        self.stop(server)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default="build")
    p.add_argument("--work", default="/dev/shm/firn-bench")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--size", type=int, default=4, help="GiB of large images")
    p.add_argument("parts", nargs="*")
    a = p.parse_args()
    bench = Bench(a)
    for part in a.parts or ("latency", "fill", "first", "hints", "bytes",
                            "clients"):
        print("-- " + part, flush=True)
        getattr(bench, part)()


sys.exit(main())
