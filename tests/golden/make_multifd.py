#!/usr/bin/env python3
"""Golden multifd captures: what real QEMUs send through their channels, and
what a decoder must find.

    make_multifd.py capture [NAME...]   make them anew (needs scripts/lab)
    make_multifd.py check               decode them all, compare with the JSON

As make_streams.py an independent reader, and a reader of another kind than
firn's: it stops at each sync point until all channels are there, as QEMU's own
destination does, and refuses a page that comes twice between two of them. A
file holds all connections, the main one first, each behind its length (8 bytes,
big-endian).
"""
import hashlib
import json
import os
import subprocess
import sys
import zlib

import make_streams
from make_streams import CONTINUE, EOS, FLUSH, PAGE, ZERO

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "multifd")
HEADER = 320 + 8 * 128


class Main(make_streams.Decoder):
    """The main connection: collects zero pages by epoch instead of applying
    them, and counts the marks of sync points."""

    def __init__(self, data):
        super().__init__(data)
        self.zeros = [[]]
        self.per_round = False

    def mark(self):
        self.zeros.append([])

    def ram_body(self):
        r = self.r
        while True:
            word = r.number(8)
            flags, offset = word % PAGE, word - word % PAGE
            if flags == EOS:
                if not self.per_round:
                    self.mark()
                return
            if flags == FLUSH:
                self.records["flush"] += 1
                if self.sections == {"start": 1, "part": 0, "end": 0}:
                    self.per_round = True
                if self.per_round:
                    self.mark()
                continue
            if flags & ~CONTINUE != ZERO:
                raise ValueError(f"RAM flags {flags:#x} beside channels")
            if not flags & CONTINUE:
                self.name = r.str8()
            r.expect(1, 0, "fill byte")
            self.records["zero"] += 1
            self.zeros[-1].append((self.name, offset))


def unpack(method, pieces):
    """The pages of a channel in one piece; a zstd frame without an end gets
    one: an empty last block."""
    data = b"".join(pieces)
    if method == "zlib":
        return zlib.decompressobj().decompress(data)
    if method == "zstd" and data:
        return subprocess.run(["zstd", "-dcq"], input=data + b"\1\0\0",
                              stdout=subprocess.PIPE, check=True).stdout
    return data


def read_channel(data, method):
    """(uuid, number, pages by epoch, packets); a page is (block, offset,
    content or None)."""
    number = lambda at, n: int.from_bytes(data[at : at + n], "big")
    assert number(0, 4) == 0x11223344 and number(4, 4) == 1, "hello"
    uuid, channel = data[8:24], data[24]
    at, packets, pieces, order = 64, 0, [], [[]]
    while at < len(data):
        assert len(data) - at >= HEADER, "cut header"
        assert number(at, 4) == 0x11223344, f"packet at {at}"
        flags = number(at + 8, 4)
        normal, size, zero = (number(at + n, 4) for n in (16, 20, 32))
        name = data[at + 64 : at + 320].split(b"\0")[0].decode()
        offsets = [number(at + 320 + 8 * i, 8) for i in range(normal + zero)]
        at += HEADER
        packets += 1
        if normal:
            pieces.append(data[at : at + size])
            assert len(pieces[-1]) == size, "cut payload"
            at += size
        order[-1] += [(name, o, i < normal) for i, o in enumerate(offsets)]
        if flags & 1:
            order.append([])
    assert not order.pop(), "pages behind the last sync point"
    raw, cursor, epochs = unpack(method, pieces), 0, []
    for pages in order:
        epochs.append([])
        for name, offset, has in pages:
            content = raw[cursor : cursor + PAGE] if has else None
            cursor += PAGE if has else 0
            epochs[-1].append((name, offset, content))
    assert cursor == len(raw), "pages and payloads differ"
    return uuid, channel, epochs, packets


def apply(blocks, main, channels):
    for epoch in range(len(main.zeros)):
        once = set()
        pages = [(n, o, None) for n, o in main.zeros[epoch]]
        for channel in channels:
            pages += channel[2][epoch] if epoch < len(channel[2]) else []
        for name, offset, content in pages:
            assert (name, offset) not in once, "twice between sync points"
            once.add((name, offset))
            block = blocks[name]
            block.memory[offset : offset + PAGE] = content or bytes(PAGE)
            block.seen[offset // PAGE] = 1


def decode(connections, method):
    main = Main(connections[0])
    main.decode()
    assert not main.zeros.pop(), "zero pages behind the last sync point"
    channels = [read_channel(c, method) for c in connections[1:]]
    assert [c[1] for c in channels] == list(range(len(channels)))
    assert {c[0] for c in channels} == {bytes(16)}
    assert {len(c[2]) for c in channels} == {len(main.zeros)}, "sync points"
    apply(main.blocks, main, channels)
    pages = [p for c in channels for epoch in c[2] for p in epoch]
    return main, {
        "bytes": [len(c) for c in connections],
        "sha256": hashlib.sha256(b"".join(connections)).hexdigest(),
        "machine": main.machine,
        "method": method,
        "sync_points": len(main.zeros),
        "marks_are_flushes": main.per_round,
        "packets": [c[3] for c in channels],
        "data_pages": sum(p[2] is not None for p in pages),
        "zero_pages": sum(p[2] is None for p in pages),
        "zero_records": main.records["zero"],
        "blocks": [
            {"name": name, "bytes": len(b.memory),
             "pages_unseen": b.seen.count(0),
             "sha256": hashlib.sha256(b.memory).hexdigest()}
            for name, b in main.blocks.items()],
        "run_state": main.run_state,
        "devices": len(main.devices),
    }


def join(connections):
    return b"".join(len(c).to_bytes(8, "big") + c for c in connections)


def split(data):
    connections, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "big")
        connections.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return connections


# Version, machine, channels, method, live. Live ones take rounds: with little
# bandwidth until there were three, then the VM is stopped, so that the capture
# ends and its memory can be compared. 7.2 misses writes of a live one (TCG).
RECIPES = {
    "7.2-none": ("7.2", "pc", 2, "none", False),
    "7.2-zlib": ("7.2", "pc", 2, "zlib", False),
    "7.2-zstd": ("7.2", "pc", 3, "zstd", False),
    "10.0-none": ("10.0", "pc", 3, "none", True),
    "10.0-zlib": ("10.0", "pc", 2, "zlib", True),
    "10.0-zstd": ("10.0", "pc", 2, "zstd", True),
    "10.0-machine-7.2": ("10.0", "pc-i440fx-7.2", 4, "none", True),
}


def capture_live(guest, capture, n, method):
    make_streams.wait_firmware(guest)
    for _ in range(20):
        stopped = []

        def stop_after_rounds():
            ram = guest.qmp("query-migrate").get("ram", {})
            if not stopped and ram.get("dirty-sync-count", 0) >= 4:
                guest.stop()
                guest.qmp("migrate-set-parameters", max_bandwidth=0)
                stopped.append(True)

        data = capture.capture_multifd(
            guest, n, method, while_reading=stop_after_rounds,
            parameters={"max_bandwidth": 512 << 10, "downtime_limit": 1})
        if stopped and decode(data, method)[0].run_state == "paused":
            return data
        guest.cont()
    raise AssertionError("no capture took enough rounds")


def make(name):
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lab"))
    import capture
    import lab

    version, machine, n, method, live = RECIPES[name]
    directory = lab.tmpdir()
    firmware = os.path.join(directory, "firmware.bin")
    with open(firmware, "wb") as f:
        f.write(make_streams.FIRMWARE)
    extra = ["-bios", firmware, "-global", "apic-common.vapic=off"]
    with lab.Guest(version, mem=16, kernel=False, paused=not live,
                   machine=machine, extra=extra, dir=directory) as guest:
        full_version = "%d.%d.%d" % guest.monitor.version
        data = (capture_live(guest, capture, n, method) if live
                else capture.capture_multifd(guest, n, method))
        main, found = decode(data, method)
        compare_memory(guest, main)
    target = os.path.join(FOLDER, name)
    subprocess.run(["zstd", "-19", "-qf", "-o", f"{target}.zst"],
                   input=join(data), check=True, timeout=120)
    with open(f"{target}.json", "w") as f:
        f.write(make_streams.json_text(
            {"name": name, "qemu": full_version, **found}))
    print(f"{name}: {found['bytes']} bytes, {found['sync_points']} sync points,"
          f" {os.path.getsize(target + '.zst')} packed: memory equal")


def compare_memory(guest, main):
    decoded = main.blocks["pc.ram"].memory
    path = f"{guest.dir}/memory"
    guest.qmp("pmemsave", val=0, size=len(decoded), filename=path)
    with open(path, "rb") as f:
        memory = f.read()
    for low, high in (0, 0xA0000), (1 << 20, len(decoded)):
        if decoded[low:high] != memory[low:high]:
            raise AssertionError(f"memory differs in {low:#x} to {high:#x}")


def check():
    names = sorted(f[:-5] for f in os.listdir(FOLDER) if f.endswith(".json"))
    if not names:
        sys.exit("no golden captures")
    for name in names:
        with open(os.path.join(FOLDER, f"{name}.json")) as f:
            told = json.load(f)
        connections = split(make_streams.read_stream(
            os.path.join(FOLDER, f"{name}.zst")))
        found = decode(connections, told["method"])[1]
        wrong = [k for k in found if found[k] != told.get(k)]
        if wrong:
            sys.exit(f"{name}: differs in {wrong}")
        print(f"{name}: ok")


def main(args):
    if args[:1] == ["capture"]:
        os.makedirs(FOLDER, exist_ok=True)
        for name in args[1:] or RECIPES:
            make(name)
    elif args == ["check"]:
        check()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
