#!/usr/bin/env python3
"""Captures, restores, lists, checks, forgets and a prune at once, by several
processes, for FIRN_SOAK_SECONDS (600), some of them killed: the repository is
clean afterwards, and no lock needs anybody's help.
"""
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(__file__))
import keeping  # noqa: E402
from keeping import lab  # noqa: E402

SECONDS = float(os.environ.get("FIRN_SOAK_SECONDS", "600"))


class Scene:
    def __init__(self):
        self.repo = keeping.new_repository()
        self.end = time.monotonic() + SECONDS
        self.lock = threading.Lock()  # everything below
        self.counts = {}
        self.failures = []
        self.sums = {}

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def over(self):
        with self.lock:
            return bool(self.failures) or time.monotonic() > self.end

    def firn(self, *args, may_fail=(), timeout=300):
        """Status and output; a status that is neither 0 nor expected is a
        failure of the soak."""
        done = lab.firn("--repo", self.repo, *args, check=False,
                        timeout=timeout)
        if done.returncode and done.returncode not in may_fail:
            with self.lock:
                self.failures.append(f"{args}: {done.returncode}"
                                     f" {done.stdout}{done.stderr}")
        return done


def run(scene, work):
    """A worker's loop; what it raises ends the soak."""
    def loop():
        while not scene.over():
            try:
                work()
            except Exception as why:
                with scene.lock:
                    scene.failures.append(f"{work.__name__}: {why!r}")
    return threading.Thread(target=loop)


def capturer(scene, name, seed):
    memory = keeping.Memory(name, 12, seed)

    def captures():
        memory.change(0.15)
        snap = memory.store(scene.repo)
        with scene.lock:
            scene.sums[snap] = memory.sums[snap]
        scene.count("captures")
        if memory.random.random() < 0.1:
            # One that dies: the next open cleans up behind it.
            process = lab.firn_start("--repo", scene.repo, "-q", "import",
                                     "--format", "raw", memory.path, "--name",
                                     name + "-dies")
            time.sleep(memory.random.uniform(0, 0.15))
            process.kill()
            process.communicate()
            scene.count("captures killed")
    return captures


def reader(scene, seed):
    rng = random.Random(seed)

    def restores():
        with scene.lock:
            snaps = list(scene.sums.items())
        if not snaps:
            return time.sleep(0.1)
        snap, want = rng.choice(snaps[-20:])
        try:
            got = keeping.image_sum(scene.repo, snap)
        except AssertionError as why:
            # Forgotten is the one good reason.
            assert snap not in keeping.listed(scene.repo), why
            with scene.lock:
                scene.sums.pop(snap, None)
            return scene.count("restores of what was forgotten")
        assert got == want, f"{snap} came back wrong"
        scene.count("restores")
        return None
    return restores


def lister(scene):
    def lists():
        scene.firn("--json", "list")
        scene.count("lists")
        time.sleep(0.3)
    return lists


def checker(scene):
    def checks():
        scene.firn("-q", "check", "--read-data=20", "--max-duration", "2s")
        scene.count("checks")
        time.sleep(1)
    return checks


def forgetter(scene):
    def forgets():
        scene.firn("-q", "forget", "--keep-last", "6")
        scene.count("forgets")
        time.sleep(1.5)
    return forgets


def pruner(scene):
    rng = random.Random(11)

    def prunes():
        if rng.random() < 0.2:
            process = lab.firn_start("--repo", scene.repo, "-q", "prune")
            time.sleep(rng.uniform(0, 1.0))
            process.kill()
            process.communicate()
            scene.count("prunes killed")
        else:
            scene.firn("-q", "prune", "--max-duration", "20s")
            scene.count("prunes")
        time.sleep(0.5)
    return prunes


def test_many_at_once_leave_a_clean_repository():
    scene = Scene()
    threads = [run(scene, work) for work in (
        capturer(scene, "vm1", 1), capturer(scene, "vm2", 2),
        reader(scene, 3), reader(scene, 4), lister(scene), checker(scene),
        forgetter(scene), pruner(scene))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keeping.say(", ".join(f"{n} {what}"
                          for what, n in sorted(scene.counts.items())))
    assert not scene.failures, scene.failures[:3]
    # No lock is left, and nothing waits for anybody.
    last = keeping.prune(scene.repo)
    assert last["finished"] and last["condemned_packs"] == 0, last
    assert not os.listdir(os.path.join(scene.repo, "locks"))
    keeping.expect_clean(scene.repo)
    for snap in keeping.listed(scene.repo):
        if snap in scene.sums:
            assert keeping.image_sum(scene.repo, snap) == scene.sums[snap]


if __name__ == "__main__":
    lab.main(globals())
