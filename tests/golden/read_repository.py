#!/usr/bin/env python3
"""Reads a snapshot out of a repository, from docs/format.md alone.

    read_repository.py REPO SNAP BLOCK OUT.raw
    read_repository.py REPO SNAP --all DIR

SNAP is a full id, BLOCK the idstr of a RAM block. Every checksum and every
content hash on the way is verified. Standard library, and by read_pack.py the
zstd and xxhash libraries; none of firn's own code.
"""
import json
import os
import sqlite3
import struct
import sys

from read_pack import (Damage, Hash128, MAX_RAW, PAGE, Pack, XXHASH,
                       content_hash, ctypes, decompress, need, xxh3)

SEGMENT_PAGES = 512
MASK = (1 << 64) - 1

XXHASH.XXH3_128bits_withSeed.restype = Hash128
XXHASH.XXH3_128bits_withSeed.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]


# --- config ----------------------------------------------------------------

def read_config(repo):
    """The keyring: id → secret."""
    with open(os.path.join(repo, "config"), "rb") as file:
        text = file.read()
    config = json.loads(text)
    need(config["format"] == 1, "the format is not 1")
    tail = b',"checksum":"%s"}\n' % config["checksum"].encode()
    need(text.endswith(tail), "config does not end in its checksum")
    summed = text[:-len(tail)]
    need(config["checksum"] == "%016x" % xxh3(summed, 0),
         "config: the checksum differs")
    need(config["required_features"] == [], "an unknown feature is required")
    return {key["id"]: bytes.fromhex(key["secret"])
            for key in config["keyring"]}


# --- packs -----------------------------------------------------------------

class RandomPack(Pack):
    """A pack of which single items are read, each with its hash checked."""

    def __init__(self, repo, id, kind, keyring):
        with open(os.path.join(repo, "packs", id[:2], id), "rb") as file:
            super().__init__(file.read(), id)
        need(self.kind == kind, f"pack {id} is of another kind")
        self.name = id
        self.secret = keyring[self.key]
        self.offsets = []
        self.places = []  # of each item: frame, number within
        offset = 64
        for frame, (stored, raw, _) in enumerate(self.frames):
            need(0 < stored <= raw <= MAX_RAW, f"pack {id}: frame {frame}")
            need(kind == 2 or raw % PAGE == 0, f"pack {id}: frame {frame}")
            self.offsets.append(offset)
            self.places += [(frame, slot)
                            for slot in range(1 if kind == 2 else raw // PAGE)]
            offset += stored
        need(len(self.places) == self.n_items, f"pack {id}: items")
        self.last = None, None

    def frame(self, number):
        if self.last[0] == number:
            return self.last[1]
        stored, raw, total = self.frames[number]
        at = self.offsets[number]
        data = self.data[at:at + stored]
        need(total == xxh3(data, self.seed + number & MASK),
             f"pack {self.name}: sum of frame {number}")
        if stored != raw:
            data = decompress(data, raw)
        self.last = number, data
        return data

    def item(self, number):
        need(number < self.n_items, f"pack {self.name} has no item {number}")
        frame, slot = self.places[number]
        data = self.frame(frame)
        if self.kind == 1:
            data = data[slot * PAGE:(slot + 1) * PAGE]
        need(content_hash(data, self.secret) == self.hashes[number],
             f"pack {self.name}: item {number} is not what its hash says")
        return data


# --- segments --------------------------------------------------------------

def decode_segment(data):
    """[(first page, count, pack id, first item)]"""
    at = 0

    def byte():
        nonlocal at
        need(at < len(data), "a segment ends too early")
        at += 1
        return data[at - 1]

    def number():
        value = shift = 0
        while True:
            b = byte()
            value |= (b & 127) << shift
            shift += 7
            if b < 128:
                need(b or shift == 7, "a number is longer than needed")
                return value

    need(byte() == 1, "a segment of an unknown version")
    packs = []
    for _ in range(number()):
        packs.append(data[at:at + 16].hex())
        at += 16
    runs = []
    page = pack = 0
    expected = [0] * len(packs)
    for _ in range(number()):
        head = number()
        if head & 2:
            pack = number()
        count = 2 + number() if head & 1 else 1
        step = number()
        need(pack < len(packs), "a run in no pack")
        item = expected[pack] + (-(step + 1) // 2 if step & 1 else step // 2)
        first = page + (head >> 2)
        page = first + count
        expected[pack] = item + count
        need(item >= 0 and page <= SEGMENT_PAGES, "a run out of range")
        runs.append((first, count, packs[pack], item))
    need(at == len(data), "a segment with bytes behind its end")
    return runs


# --- snapshots -------------------------------------------------------------

class Snapshot:
    def __init__(self, repo, id):
        self.repo = repo
        self.keyring = read_config(repo)
        self.packs = {}
        with open(os.path.join(repo, "snapshots", id), "rb") as file:
            data = file.read()
        stored, footer = data[:-64], data[-64:]
        seed = int(id, 16)
        magic, version, raw, its_id, length, low, high, total = \
            struct.unpack("<8sII16sQQQQ", footer)
        need(total == xxh3(footer[:56], seed), "snapshot: footer")
        if (version, raw) == (1, 0):
            version, raw = 2, length
        need((magic, version, its_id, length)
             == (b"FIRNSNAP", 2, id.encode(), len(stored)),
             "snapshot: footer")
        need(length <= raw <= 1 << 30, "snapshot: length of the database")
        h = XXHASH.XXH3_128bits_withSeed(stored, len(stored), seed)
        need((h.low, h.high) == (low, high), "snapshot: database")
        image = stored if raw == length else decompress(stored, raw)
        self.db = sqlite3.connect(":memory:")
        self.db.deserialize(image)
        need(self.rows("PRAGMA user_version") == [(1,)], "unknown schema")
        strange = "SELECT * FROM sqlite_schema WHERE type NOT IN " \
                  "('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'"
        need(self.rows(strange) == [], "the database runs code")
        self.pack_rows = {pack: row for pack, *row in self.rows(
            "SELECT pack, id, kind, bytes, items FROM pack")}
        self.kinds = {row[0]: row[1] for row in self.pack_rows.values()}
        self.blocks = self.rows("SELECT block, idstr, used_bytes, left_out "
                                "FROM block ORDER BY block")

    def rows(self, statement, *arguments):
        return self.db.execute(statement, arguments).fetchall()

    def pack(self, id, kind):
        if id not in self.packs:
            need(self.kinds.get(id) == kind, f"pack {id} is not listed")
            pack = RandomPack(self.repo, id, kind, self.keyring)
            row, = (r for r in self.pack_rows.values() if r[0] == id)
            need([len(pack.data), pack.n_items] == row[2:],
                 f"pack {id} is another one")
            self.packs[id] = pack
        return self.packs[id]

    def segments(self, block, idstr):
        """(segno, runs) of all that are not zero."""
        for segno, number, item, checksum in self.rows(
                "SELECT segno, pack, item, checksum FROM segment "
                "WHERE block = ? ORDER BY segno", block):
            data = self.pack(self.pack_rows[number][0], 2).item(item)
            place = xxh3(idstr.encode() + struct.pack("<Q", segno), 0)
            need(checksum & MASK == xxh3(data, place),
                 f"segment {segno} of '{idstr}'")
            yield segno, decode_segment(data)

    def write_block(self, block, idstr, used_bytes, path):
        with open(path, "wb") as out:
            out.truncate(used_bytes)
            for segno, runs in self.segments(block, idstr):
                for first, count, id, item in runs:
                    out.seek((segno * SEGMENT_PAGES + first) * PAGE)
                    for i in range(count):
                        out.write(self.pack(id, 1).item(item + i))
            need(out.tell() <= used_bytes, f"'{idstr}' is longer than it is")


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    repo, id, which, target = sys.argv[1:]
    snapshot = Snapshot(repo, id)
    for block, idstr, used_bytes, left_out in snapshot.blocks:
        if which == "--all" and not left_out:
            path = os.path.join(target, f"{block}.raw")
            snapshot.write_block(block, idstr, used_bytes, path)
        elif which == idstr:
            need(not left_out, f"'{idstr}' is not in the snapshot")
            snapshot.write_block(block, idstr, used_bytes, target)
    need(which == "--all" or which in [b[1] for b in snapshot.blocks],
         f"there is no block '{which}'")


try:
    main()
except (Damage, OSError, ValueError, KeyError, sqlite3.Error) as why:
    sys.exit(f"read_repository: {type(why).__name__}: {why}")
