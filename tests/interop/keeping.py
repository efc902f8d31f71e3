"""Repositories with many snapshots, without a VM: images of memory that change
from one snapshot to the next, imported, given out again and compared.
"""
import hashlib
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402

PAGE = 4096


def say(text):
    print("  " + text, flush=True)


def new_repository():
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    lab.firn("init", repo)
    return repo


class Memory:
    """A made-up VM's memory in a file, and what each snapshot must give."""

    def __init__(self, name, mib, seed):
        self.name = name
        self.random = random.Random(seed)
        self.path = os.path.join(lab.tmpdir("firn-image-"), name)
        self.pages = mib * 256
        self.data = bytearray(self.random.randbytes(self.pages * PAGE))
        for i in range(0, self.pages, 4):
            self.data[i * PAGE:(i + 1) * PAGE] = bytes(PAGE)
        self.sums = {}

    def change(self, share):
        """Writes a share of the pages anew, a part of them zero."""
        for i in self.random.sample(range(self.pages),
                                    int(self.pages * share)):
            fresh = (bytes(PAGE) if self.random.random() < 0.1
                     else self.random.randbytes(PAGE))
            self.data[i * PAGE:(i + 1) * PAGE] = fresh

    def store(self, repo, *args, check=True):
        """Imports it: the id, or None when that failed and may."""
        with open(self.path, "wb") as file:
            file.write(self.data)
        done = lab.firn("--repo", repo, "-q", "import", "--format", "raw",
                        self.path, "--name", self.name, *args, check=check)
        if done.returncode != 0:
            return None
        snap = done.stdout.strip()
        self.sums[snap] = hashlib.sha256(self.data).hexdigest()
        return snap

    def verify(self, repo, snap):
        assert image_sum(repo, snap) == self.sums[snap], snap


def image_sum(repo, snap):
    """SHA-256 of a snapshot's memory; an AssertionError if it has none."""
    done = subprocess.run(
        [lab.firn_path(), "--repo", repo, "export", snap, "--format", "raw"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return hashlib.sha256(done.stdout).hexdigest()


def listed(repo):
    return [line["id"]
            for line in lab.firn_json("--repo", repo, "--json", "list")]


def prune(repo, *args):
    return lab.firn_json("--repo", repo, "--json", "prune", *args,
                         timeout=600)[-1]


def packs_bytes(repo):
    """Of packs and snapshots: what a repository costs."""
    return sum(os.path.getsize(os.path.join(folder, name))
               for part in ("packs", "snapshots")
               for folder, _, names in os.walk(os.path.join(repo, part))
               for name in names)


def expect_clean(repo, data=True):
    """`check` finds nothing, and each file is one that is accounted for."""
    report = lab.firn_json("--repo", repo, "--json", "check",
                           *(["--read-data"] if data else []),
                           timeout=600)[-1]
    assert report["type"] == "check" and report["errors"] == 0, report
    assert report["unreferenced_packs"] == 0, report
    known = {"config"}
    for snap in listed(repo):
        known |= {f"snapshots/{snap}", f"hints/{snap}"}
        shown = lab.firn_json("--repo", repo, "--json", "show", snap)[0]
        known |= {f"packs/{p['id'][:2]}/{p['id']}" for p in shown["packs"]}
    found = {os.path.relpath(os.path.join(folder, name), repo)
             for folder, _, names in os.walk(repo) for name in names}
    stray = {name for name in found - known
             if not name.startswith(("catalog.db", "checks/"))}
    assert not stray, stray
    repair = lab.firn_json("--repo", repo, "--json", "repair", "index")
    assert repair[-1]["strange"] == repair[-1]["errors"] == 0, repair


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line.strip()]
