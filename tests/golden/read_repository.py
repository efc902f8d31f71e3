#!/usr/bin/env python3
"""Reads a snapshot out of a repository, from docs/format.md alone.

    read_repository.py REPO SNAP BLOCK OUT.raw
    read_repository.py REPO SNAP --all DIR

SNAP is a full id, BLOCK the idstr of a RAM block. Every checksum and every
content hash on the way is verified. Standard library, and the zstd and xxhash
libraries by ctypes; none of firn's own code.
"""
import ctypes
import json
import os
import sqlite3
import struct
import sys

PAGE = 4096
SEGMENT_PAGES = 512
MASK = (1 << 64) - 1


class Damage(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damage(what)


# --- libraries -------------------------------------------------------------

class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
xxhash.XXH3_64bits_withSeed.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
xxhash.XXH3_128bits_withSeed.restype = Hash128
xxhash.XXH3_128bits_withSeed.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
xxhash.XXH3_128bits_withSecret.restype = Hash128
xxhash.XXH3_128bits_withSecret.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]

zstd = ctypes.CDLL("libzstd.so.1")
zstd.ZSTD_decompress.restype = ctypes.c_size_t
zstd.ZSTD_decompress.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
zstd.ZSTD_isError.restype = ctypes.c_uint
zstd.ZSTD_isError.argtypes = [ctypes.c_size_t]
zstd.ZSTD_findFrameCompressedSize.restype = ctypes.c_size_t
zstd.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3(data, seed):
    return xxhash.XXH3_64bits_withSeed(data, len(data), seed & MASK)


def content_hash(data, secret):
    """Keyed XXH3-128 in canonical form."""
    h = xxhash.XXH3_128bits_withSecret(data, len(data), secret, len(secret))
    return struct.pack(">QQ", h.high, h.low)


def unzstd(data, raw):
    need(data[:4] == b"\x28\xb5\x2f\xfd", "a frame is no zstd frame")
    need(zstd.ZSTD_findFrameCompressedSize(data, len(data)) == len(data),
         "a frame is more than one zstd frame")
    out = ctypes.create_string_buffer(raw)
    n = zstd.ZSTD_decompress(out, raw, data, len(data))
    need(not zstd.ZSTD_isError(n) and n == raw, "a frame does not decompress")
    return out.raw


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

class Pack:
    """One pack, read whole."""

    def __init__(self, repo, id, kind, keyring):
        path = os.path.join(repo, "packs", id[:2], id)
        with open(path, "rb") as file:
            self.data = data = file.read()
        self.id = id
        raw_id = bytes.fromhex(id)
        seed_frames, seed_trailer = struct.unpack("<QQ", raw_id)
        need(len(data) >= 160, f"pack {id} is too short")
        header, trailer = data[:64], data[-64:]
        (magic, version, its_kind, its_id, _, must, key, page, reserved,
         total) = struct.unpack("<8sII16sIIIIQQ", header)
        need(total == xxh3(header[:56], 0), f"pack {id}: header")
        need((magic, version, its_kind, its_id, must, page, reserved)
             == (b"FIRNPACK", 1, kind, raw_id, 0, PAGE, 0), f"pack {id}: header")
        (magic, n_frames, n_items, table, size, frame_sum, item_sum, reserved,
         total) = struct.unpack("<8sIIQQQQQQ", trailer)
        need(total == xxh3(trailer[:56], seed_trailer), f"pack {id}: trailer")
        items = table + 16 * n_frames
        need(magic == b"FIRNTAIL" and reserved == 0 and n_frames >= 1
             and n_items >= 1 and size == len(data)
             and items + 16 * n_items + 64 == size, f"pack {id}: trailer")
        need(frame_sum == xxh3(data[table:items], 0), f"pack {id}: frames")
        need(item_sum == xxh3(data[items:-64], 0), f"pack {id}: items")
        self.n_items = n_items
        self.kind = kind
        self.secret = keyring[key]
        self.hashes = [data[items + 16 * i:items + 16 * i + 16]
                       for i in range(n_items)]
        self.frames = []
        self.frame_of = []
        offset = 64
        for number in range(n_frames):
            stored, raw, total = struct.unpack_from("<IIQ", data,
                                                    table + 16 * number)
            need(0 < stored <= raw <= 1 << 20, f"pack {id}: frame {number}")
            need(kind == 2 or raw % PAGE == 0, f"pack {id}: frame {number}")
            seed = (seed_frames + number) & MASK
            first = len(self.frame_of)
            self.frames.append((offset, stored, raw, total, seed, first))
            self.frame_of += [number] * (1 if kind == 2 else raw // PAGE)
            offset += stored
        need(offset == table and len(self.frame_of) == n_items,
             f"pack {id}: the frames do not fill it")
        self.last = None, None

    def frame(self, number):
        if self.last[0] == number:
            return self.last[1]
        offset, stored, raw, total, seed, _ = self.frames[number]
        data = self.data[offset:offset + stored]
        need(total == xxh3(data, seed), f"pack {self.id}: frame {number}")
        if stored != raw:
            data = unzstd(data, raw)
        self.last = number, data
        return data

    def item(self, number):
        need(number < self.n_items, f"pack {self.id} has no item {number}")
        frame = self.frame_of[number]
        data = self.frame(frame)
        if self.kind == 1:
            at = (number - self.frames[frame][5]) * PAGE
            data = data[at:at + PAGE]
        need(content_hash(data, self.secret) == self.hashes[number],
             f"pack {self.id}: item {number} is not what its hash says")
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
        image, footer = data[:-64], data[-64:]
        seed = int(id, 16)
        magic, version, reserved, its_id, length, low, high, total = \
            struct.unpack("<8sII16sQQQQ", footer)
        need(total == xxh3(footer[:56], seed), "snapshot: footer")
        need((magic, version, reserved, its_id, length)
             == (b"FIRNSNAP", 1, 0, id.encode(), len(image)),
             "snapshot: footer")
        h = xxhash.XXH3_128bits_withSeed(image, len(image), seed)
        need((h.low, h.high) == (low, high), "snapshot: database")
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
            pack = Pack(self.repo, id, kind, self.keyring)
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
