#!/usr/bin/env python3
"""What our writer wrote, read by a reader that shares no code with it.

    compare_readers.py WRITE_SAMPLE READ_REPOSITORY

Compares raw images byte for byte. Then flips one bit at a time in a pack of
either kind, a snapshot and config: the reader must refuse or be right.
"""
import os
import random
import subprocess
import sys
import tempfile


def read(reader, repo, id, target):
    os.makedirs(target, exist_ok=True)
    return subprocess.run([sys.executable, reader, repo, id, "--all", target],
                          capture_output=True, text=True)


def same(folder, other):
    names = sorted(os.listdir(folder))
    if names != sorted(os.listdir(other)):
        return False
    for name in names:
        with open(os.path.join(folder, name), "rb") as a, \
                open(os.path.join(other, name), "rb") as b:
            if a.read() != b.read():
                return False
    return True


def objects(repo):
    for folder, _, names in os.walk(repo):
        for name in names:
            if not name.startswith("catalog.db"):
                yield os.path.join(folder, name)


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at // 8)
        byte = file.read(1)[0]
        file.seek(at // 8)
        file.write(bytes([byte ^ 1 << at % 8]))


def main():
    writer, reader = sys.argv[1:]
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        repo = os.path.join(folder, "repo")
        ids = subprocess.run([writer, folder], check=True, text=True,
                             capture_output=True).stdout.split()
        assert len(ids) == 3
        for id in ids:
            target = os.path.join(folder, "read-" + id)
            result = read(reader, repo, id, target)
            assert result.returncode == 0, result.stderr
            assert same(os.path.join(folder, id), target), id
        chance = random.Random(1)
        for path in sorted(objects(repo)):
            at = chance.randrange(os.path.getsize(path) * 8)
            flip(path, at)
            target = os.path.join(folder, "damaged")
            result = read(reader, repo, ids[-1], target)
            assert result.returncode != 0 or \
                same(os.path.join(folder, ids[-1]), target), (path, at)
            flip(path, at)
        print("3 snapshots, byte for byte")


main()
