#!/usr/bin/env python3
"""Golden streams: real QEMU migration streams and what a decoder must find.

    make_streams.py capture [NAME...]   make them anew (needs scripts/lab)
    make_streams.py check               decode them all, compare with the JSON
    make_streams.py decode FILE         print what is in a stream (.zst or raw)

A second, independent reader of the format: nothing of firn's is used, so that
an error in firn's idea of it shows as a difference. It keeps every page in
memory and stops at the first thing it does not know.
"""
import hashlib
import json
import os
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
STREAMS = os.path.join(HERE, "stream")
PAGE = 4096

EOF, START, PART, END, FULL, VMDESC, CONFIG, COMMAND, FOOTER = (
    0, 1, 2, 3, 4, 6, 7, 8, 0x7E)
COMMANDS = {1: "open-return-path", 2: "ping", 3: "postcopy-advise",
            11: "switchover-start"}
ZERO, MEM_SIZE, DATA, EOS, CONTINUE, XBZRLE, FLUSH = (
    0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x200)


class Reader:
    """Big-endian numbers and strings from a buffer, with an end."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, length):
        piece = self.data[self.at : self.at + length]
        if len(piece) != length:
            raise ValueError(f"stream ends at {len(self.data)}, wanted"
                             f" {length} bytes at {self.at}")
        self.at += length
        return piece

    def number(self, width):
        return int.from_bytes(self.take(width), "big")

    def str8(self):
        return self.take(self.number(1)).decode()

    def expect(self, width, value, what):
        at, found = self.at, self.number(width)
        if found != value:
            raise ValueError(f"{what} at {at}: {found:#x}, not {value:#x}")


class Block:
    def __init__(self, length):
        self.memory = bytearray(length)
        self.seen = bytearray(length // PAGE)


class Decoder:
    """Decodes a whole stream in decode(); the results are the fields."""

    def __init__(self, data):
        self.r = Reader(data)
        self.blocks = {}
        self.block = None
        self.ram_id = None
        self.records = {"page": 0, "zero": 0, "xbzrle": 0, "flush": 0}
        self.sections = {"start": 0, "part": 0, "end": 0}
        self.commands = []

    def decode(self):
        r = self.r
        r.expect(4, 0x5145564D, "magic")
        r.expect(4, 3, "version")
        r.expect(1, CONFIG, "CONFIG")
        self.machine = r.take(r.number(4)).decode()
        self.config_length = r.at - 8
        while True:
            kind = r.number(1)
            if kind == COMMAND:
                command, body = r.number(2), r.take(r.number(2))
                self.commands.append(
                    {"name": COMMANDS[command], "body": body.hex()})
            elif kind == START:
                self.start()
            elif kind in (PART, END):
                self.sections["part" if kind == PART else "end"] += 1
                r.expect(4, self.ram_id, "section id")
                self.ram_body()
                self.footer(self.ram_id)
            elif kind == FULL:
                r.at -= 1
                break
            else:
                raise ValueError(f"element {kind:#x} at {r.at - 1}")
        self.device_tail()

    def footer(self, section_id):
        self.r.expect(1, FOOTER, "footer")
        self.r.expect(4, section_id, "footer's section id")

    def start(self):
        r = self.r
        self.sections["start"] += 1
        self.ram_id = r.number(4)
        name, instance, version = r.str8(), r.number(4), r.number(4)
        if (name, instance, version) != ("ram", 0, 4):
            raise ValueError(f"START of {name} {instance} {version}")
        word = r.number(8)
        if word % PAGE != MEM_SIZE:
            raise ValueError(f"no block list: {word:#x}")
        total = word - MEM_SIZE
        while total > 0:
            block = r.str8()
            self.blocks[block] = Block(r.number(8))
            total -= len(self.blocks[block].memory)
        if total < 0:
            raise ValueError("block lengths exceed the total")
        self.ram_body()
        self.footer(self.ram_id)

    def ram_body(self):
        r = self.r
        while True:
            at, word = r.at, r.number(8)
            flags, offset = word % PAGE, word - word % PAGE
            kind = flags & ~CONTINUE
            if flags == EOS:
                return
            if flags == FLUSH:
                self.records["flush"] += 1
                continue
            if kind not in (ZERO, DATA, XBZRLE):
                raise ValueError(f"RAM flags {flags:#x} at {at}")
            if not flags & CONTINUE:
                self.block = self.blocks[r.str8()]
            if offset + PAGE > len(self.block.memory):
                raise ValueError(f"page beyond its block at {at}")
            self.page(kind, offset)

    def page(self, kind, offset):
        r, block = self.r, self.block
        if kind == ZERO:
            r.expect(1, 0, "fill byte")
            block.memory[offset : offset + PAGE] = bytes(PAGE)
            self.records["zero"] += 1
        elif kind == DATA:
            block.memory[offset : offset + PAGE] = r.take(PAGE)
            self.records["page"] += 1
        else:
            r.expect(1, 1, "XBZRLE mark")
            self.delta(block, offset, Reader(r.take(r.number(2))))
            self.records["xbzrle"] += 1
        block.seen[offset // PAGE] = 1

    @staticmethod
    def delta(block, offset, r):
        def leb():
            low = r.number(1)
            return low & 0x7F | r.number(1) << 7 if low & 0x80 else low

        at = 0
        while r.at < len(r.data):
            at += leb()
            length = leb()
            if length == 0 or at + length > PAGE:
                raise ValueError("XBZRLE run beyond its page")
            block.memory[offset + at : offset + at + length] = r.take(length)
            at += length

    def device_tail(self):
        """FULL sections, proved by walking them with VMDESC's sizes."""
        r, data = self.r, self.r.data
        self.tail_offset = r.at
        at = len(data)
        while True:
            at = data.rfind(b"\0\x06", r.at, at)
            if at < 0:
                raise ValueError("no VMDESC at the end")
            length = int.from_bytes(data[at + 2 : at + 6], "big")
            if at + 6 + length == len(data):
                break
        self.tail_length = at - self.tail_offset
        self.vmdesc_length = length
        self.vmdesc = json.loads(data[at + 6 :])
        self.devices = []
        for device in self.vmdesc["devices"]:
            r.expect(1, FULL, "FULL")
            section_id = r.number(4)
            name, instance, version = r.str8(), r.number(4), r.number(4)
            if (name, instance) != (device["name"], device["instance_id"]):
                raise ValueError(f"{name} {instance} is not {device['name']}")
            body = r.take(device_size(device))
            self.footer(section_id)
            if name == "globalstate":
                self.run_state = body[4:36].split(b"\0")[0].decode()
            self.devices.append({"name": name, "instance": instance,
                                 "version": version, "body_bytes": len(body)})
        if r.at != at:
            raise ValueError(f"devices end at {r.at}, EOF is at {at}")

    def findings(self):
        return {
            "stream_bytes": len(self.r.data),
            "stream_sha256": hashlib.sha256(self.r.data).hexdigest(),
            "machine": self.machine,
            "config_bytes": self.config_length,
            "commands": self.commands,
            "ram_section_id": self.ram_id,
            "ram_sections": self.sections,
            "records": self.records,
            "blocks": [
                {"name": name, "bytes": len(b.memory),
                 "pages_unseen": b.seen.count(0),
                 "sha256": hashlib.sha256(b.memory).hexdigest()}
                for name, b in self.blocks.items()],
            "run_state": self.run_state,
            "device_tail_offset": self.tail_offset,
            "device_tail_bytes": self.tail_length,
            "vmdesc_bytes": self.vmdesc_length,
            "devices": self.devices,
        }


def device_size(description):
    """Bytes of a device's or subsection's body: each field's size (a struct's
    covers what is inside), and each subsection with its header."""
    if "size" in description and "fields" not in description:
        return description["size"]
    size = sum(f["size"] * f.get("array_len", 1)
               for f in description.get("fields", []))
    for sub in description.get("subsections", []):
        size += 2 + len(sub["vmsd_name"]) + 4 + device_size(sub)
    return size


def decode(data):
    decoder = Decoder(data)
    decoder.decode()
    return decoder.findings()


def read_stream(path):
    if not path.endswith(".zst"):
        with open(path, "rb") as f:
            return f.read()
    return subprocess.run(["zstd", "-dcq", path], check=True, timeout=60,
                          stdout=subprocess.PIPE).stdout


# Capturing.

# Firmware of our own, so that a stream holds nobody else's. From its start it
# adds 1 to a word in each of 64 pages (0x20000 to 0x5FFFF), with a pause after
# each turn: what makes a live capture send deltas. The reset vector jumps to
# it.
#   cli; start: mov ax,0x2000; page: mov es,ax; inc word [es:0x123];
#   add ax,0x100; cmp ax,0x6000; jb page; xor cx,cx; loop $; jmp start
FIRMWARE = bytes.fromhex(
    "fa b80020 8ec0 26ff062301 050001 3d0060 72f1 31c9 e2fe ebe8"
).ljust(0xFFF0, b"\0") + bytes.fromhex("ea000000f0").ljust(16, b"\0")


def capture_stopped(guest, capture, return_path=True):
    return capture.capture(guest, return_path=return_path)


def capture_background(guest, capture):
    """Of a running VM: 7.2 aborts ("invalid runstate transition") if it is
    asked for one of a VM that never ran."""
    wait_firmware(guest)
    return capture.capture_background(guest)


def capture_deltas(guest, capture):
    """Live, with so little bandwidth that it takes rounds, until deltas have
    been sent; then stopped, so that it ends and that the memory stays as it
    was captured. QEMU sometimes ends by itself before, since its estimate of
    the bandwidth swings: the stream then says `running`, and is made anew."""
    wait_firmware(guest)
    for _ in range(20):
        stopped = []

        def stop_when_delta():
            info = guest.qmp("query-migrate").get("xbzrle-cache", {})
            if not stopped and info.get("pages", 0) >= 50:
                guest.stop()
                guest.qmp("migrate-set-parameters", max_bandwidth=0)
                stopped.append(True)

        data = capture.capture(
            guest, xbzrle=True, while_reading=stop_when_delta,
            parameters={"max_bandwidth": 256 << 10, "downtime_limit": 1})
        if stopped and decode(data)["run_state"] == "paused":
            return data
        guest.cont()
    raise AssertionError("no capture took enough rounds")


def wait_firmware(guest):
    """Waits until its last page's word is not zero, seen by the monitor."""
    import lab

    def written():
        text = guest.qmp(
            "human-monitor-command", command_line="xp /1hx 0x5f123")
        return text.split()[-1] != "0x0000"
    lab.wait_until(written, 20, "firmware")


RECIPES = {
    "7.2-precopy-rp": ("7.2", "stopped", lambda g, c: capture_stopped(g, c)),
    "10.0-precopy-rp": ("10.0", "stopped", lambda g, c: capture_stopped(g, c)),
    "7.2-precopy": (
        "7.2", "stopped", lambda g, c: capture_stopped(g, c, False)),
    "10.0-precopy": (
        "10.0", "stopped", lambda g, c: capture_stopped(g, c, False)),
    "10.0-machine-7.2-precopy-rp": (
        "10.0", "stopped-7.2", lambda g, c: capture_stopped(g, c)),
    "7.2-background": ("7.2", "live", capture_background),
    "10.0-background": ("10.0", "live", capture_background),
    "10.0-xbzrle-rp": ("10.0", "live", capture_deltas),
}


def make(name):
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lab"))
    import capture
    import lab

    version, state, recipe = RECIPES[name]
    directory = lab.tmpdir()
    firmware = os.path.join(directory, "firmware.bin")
    with open(firmware, "wb") as f:
        f.write(FIRMWARE)
    # Without its option ROM for TCG's local APIC, for the same reason.
    extra = ["-bios", firmware, "-global", "apic-common.vapic=off"]
    machine = "pc-i440fx-7.2" if state == "stopped-7.2" else "pc"
    with lab.Guest(version, mem=16, kernel=False, paused=state != "live",
                   machine=machine, extra=extra, dir=directory) as guest:
        full_version = "%d.%d.%d" % guest.monitor.version
        data = recipe(guest, capture)
        status = guest.status()
        if status != "running":
            compare_memory(guest, data)
    found = {"name": name, "qemu": full_version, "vm": f"-m 16, {state}",
             **decode(data)}
    target = os.path.join(STREAMS, name)
    subprocess.run(["zstd", "-19", "-qf", "-o", f"{target}.zst"], input=data,
                   check=True, timeout=120)
    with open(f"{target}.json", "w") as f:
        f.write(json_text(found))
    print(f"{name}: {len(data)} bytes, {os.path.getsize(target + '.zst')}"
          f" packed, {found['records']}, VM {status}:",
          "not compared" if status == "running" else "memory equal")


def compare_memory(guest, data):
    """The decoded pc.ram against the stopped VM's own memory, but for the
    hole below 1 MiB where other things are mapped."""
    decoder = Decoder(data)
    decoder.decode()
    decoded = decoder.blocks["pc.ram"].memory
    path = f"{guest.dir}/memory"
    guest.qmp("pmemsave", val=0, size=len(decoded), filename=path)
    with open(path, "rb") as f:
        memory = f.read()
    for low, high in (0, 0xA0000), (1 << 20, len(decoded)):
        if decoded[low:high] != memory[low:high]:
            raise AssertionError(f"memory differs in {low:#x} to {high:#x}")


def json_text(found):
    """Indented, but each item of a list on one line."""
    lines = []
    for key, value in found.items():
        if isinstance(value, list) and value:
            items = ",\n".join(f"    {json.dumps(v)}" for v in value)
            lines.append(f"  {json.dumps(key)}: [\n{items}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def check():
    names = sorted(f[:-5] for f in os.listdir(STREAMS) if f.endswith(".json"))
    if not names:
        sys.exit("no golden streams")
    for name in names:
        with open(os.path.join(STREAMS, f"{name}.json")) as f:
            told = json.load(f)
        found = decode(read_stream(os.path.join(STREAMS, f"{name}.zst")))
        wrong = [k for k in found if found[k] != told.get(k)]
        if wrong:
            sys.exit(f"{name}: differs in {wrong}")
        print(f"{name}: ok")


def main(args):
    if args[:1] == ["capture"]:
        os.makedirs(STREAMS, exist_ok=True)
        for name in args[1:] or RECIPES:
            make(name)
    elif args == ["check"]:
        check()
    elif args[:1] == ["decode"] and len(args) == 2:
        sys.stdout.write(json_text(decode(read_stream(args[1]))))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
