#!/usr/bin/env python3
"""A second reader of packs, written from docs/format.md alone.

It shares no line with the program: what both read the same way, the words
describe. Needs the shared libraries of xxHash and zstd, nothing else.

    read_pack.py FILE              lists the items
    read_pack.py FILE --raw        writes their content to stdout
    read_pack.py FILE --secret HEX checks the content hashes as well
"""
import argparse
import ctypes
import ctypes.util
import os
import struct
import sys

PAGE = 4096
MAX_FILE = 1 << 30
MAX_RAW = 1 << 20


class Damage(Exception):
    """The pack is not valid."""


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def load_library(name):
    return ctypes.CDLL(ctypes.util.find_library(name) or f"lib{name}.so")


XXHASH = load_library("xxhash")
XXHASH.XXH3_64bits_withSeed.restype = ctypes.c_uint64
XXHASH.XXH3_64bits_withSeed.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
XXHASH.XXH3_128bits_withSecret.restype = Hash128
XXHASH.XXH3_128bits_withSecret.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]

ZSTD = load_library("zstd")
ZSTD.ZSTD_findFrameCompressedSize.restype = ctypes.c_size_t
ZSTD.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
ZSTD.ZSTD_decompress.restype = ctypes.c_size_t
ZSTD.ZSTD_decompress.argtypes = [
    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


def xxh3(data, seed):
    return XXHASH.XXH3_64bits_withSeed(data, len(data), seed)


def content_hash(data, secret):
    h = XXHASH.XXH3_128bits_withSecret(data, len(data), secret, len(secret))
    return struct.pack(">QQ", h.high, h.low)


def need(condition, words):
    if not condition:
        raise Damage(words)


def decompress(stored, raw):
    need(ZSTD.ZSTD_findFrameCompressedSize(stored, len(stored)) == len(stored),
         "not one zstd frame")
    room = ctypes.create_string_buffer(raw)
    n = ZSTD.ZSTD_decompress(room, raw, stored, len(stored))
    need(n == raw, "zstd frame of another length")
    return room.raw


class Pack:
    """Header, trailer and tables of a pack, checked."""

    def __init__(self, data, name):
        self.data = data
        need(160 <= len(data) <= MAX_FILE, "size")
        self.read_header(name)
        self.read_trailer()
        self.read_tables()

    def read_header(self, name):
        (magic, version, self.kind, self.id, _, must, self.key, page, reserved,
         total) = struct.unpack("<8sII16sIIIIQQ", self.data[:64])
        need(magic == b"FIRNPACK", "magic")
        need(total == xxh3(self.data[:56], 0), "header sum")
        need((version, must, page, reserved) == (1, 0, PAGE, 0), "header")
        need(self.kind in (1, 2), "kind")
        need(self.id.hex() == name, "id")
        self.seed, self.tail_seed = struct.unpack("<QQ", self.id)

    def read_trailer(self):
        tail = self.data[-64:]
        (magic, self.n_frames, self.n_items, self.tables, size, self.frame_sum,
         self.item_sum, reserved, total) = struct.unpack("<8sIIQQQQQQ", tail)
        need(magic == b"FIRNTAIL", "trailer magic")
        need(total == xxh3(tail[:56], self.tail_seed), "trailer sum")
        need(reserved == 0 and size == len(self.data), "trailer")
        need(self.n_frames > 0 and self.n_items > 0, "empty")
        need(self.tables + 16 * (self.n_frames + self.n_items) + 64 == size,
             "tables")

    def read_tables(self):
        middle = self.tables + 16 * self.n_frames
        frames = self.data[self.tables:middle]
        items = self.data[middle:middle + 16 * self.n_items]
        need(xxh3(frames, 0) == self.frame_sum, "frame table sum")
        need(xxh3(items, 0) == self.item_sum, "item table sum")
        self.hashes = [items[i:i + 16] for i in range(0, len(items), 16)]
        self.frames = list(struct.iter_unpack("<IIQ", frames))
        need(64 + sum(f[0] for f in self.frames) == self.tables, "frames")

    def items(self):
        """The content of each item, in order."""
        offset = 64
        for number, (stored, raw, total) in enumerate(self.frames):
            need(0 < stored <= raw <= MAX_RAW, "lengths of a frame")
            data = self.data[offset:offset + stored]
            offset += stored
            need(xxh3(data, (self.seed + number) % (1 << 64)) == total,
                 f"sum of frame {number}")
            if stored != raw:
                data = decompress(data, raw)
            step = PAGE if self.kind == 1 else raw
            need(raw % step == 0, "part of a page")
            yield from (data[i:i + step] for i in range(0, raw, step))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--secret", type=bytes.fromhex)
    args = parser.parse_args()
    with open(args.file, "rb") as f:
        pack = Pack(f.read(), os.path.basename(args.file))
    items = list(pack.items())
    need(len(items) == pack.n_items, "number of items")
    for number, (data, want) in enumerate(zip(items, pack.hashes)):
        if args.secret:
            need(content_hash(data, args.secret) == want, f"hash of {number}")
        if args.raw:
            sys.stdout.buffer.write(data)
        else:
            print(number, len(data), want.hex())


if __name__ == "__main__":
    try:
        main()
    except Damage as why:
        sys.exit(f"damaged: {why}")
