#!/usr/bin/env python3
"""Kills at random moments of lazy restores under guest load, by the hundred:
no guest may be lost, and each finds every page of its memory right.

    soak_recovery.py

FIRN_SOAK_KILLS (200) pagers are killed on each version, several in a restore;
then FIRN_SOAK_BOTH (50) times keeper and pager together. After the latter a VM
cannot be had back if QEMU's main loop itself waits for a page, since nobody
holds a monitor that was negotiated before: that is counted, not forgiven to
firn otherwise. FIRN_SOAK_SEED repeats a run. FIRN_SOAK_OPTIONS (--preempt) are
for the restores, FIRN_SOAK_VERSIONS (10.0) those that take them.
"""
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402
from restored import Taken, alive  # noqa: E402
from test_recovery import VERSIONS, begin, kill  # noqa: E402

KILLS = int(os.environ.get("FIRN_SOAK_KILLS", 200))
BOTH = int(os.environ.get("FIRN_SOAK_BOTH", 50))
OPTIONS = os.environ.get("FIRN_SOAK_OPTIONS", "").split()
if "FIRN_SOAK_VERSIONS" in os.environ:
    VERSIONS = tuple(os.environ["FIRN_SOAK_VERSIONS"].split())
SEED = int(os.environ.get("FIRN_SOAK_SEED", time.time()))
KERNEL = "firn.mb=64 firn.rate=20000"

_taken = {}


def fresh(version):
    if version not in _taken:
        _taken[version] = Taken(version, kernel_args=KERNEL)
    return _taken[version].fresh()


def is_stuck(guest):
    """Its main loop answers nobody, not even a monitor that was there."""
    try:
        guest.monitor.execute("query-status", timeout=5)
        return False
    except lab.Timeout:
        return True


def forget(taken):
    shutil.rmtree(taken.repo)


def kill_some(version, most):
    """One restore, as many kills as it lives through; how many."""
    taken = fresh(version)
    run = begin(taken, *OPTIONS)
    killed = set()
    with taken.back() as guest:
        while len(killed) < most and run.poll() is None:
            pid = taken.process("pager")
            if not pid or pid in killed:
                time.sleep(0.002)
                continue
            time.sleep(random.choice((0, 0.01, 0.1, 0.4))
                       * random.uniform(0, 2))
            if not alive(pid):
                continue
            kill(pid)
            killed.add(pid)
        out, err = run.communicate(timeout=180)
        assert run.returncode == 0, (run.returncode, out, err)
        taken.expect_good(guest)
    forget(taken)
    return len(killed)


def kill_both(version):
    """True if the VM was had back, False if its main loop was stuck; None if
    it had all its pages before anything was killed."""
    taken = fresh(version)
    run = begin(taken, "--max-bandwidth", "12M", *OPTIONS)
    with taken.back() as guest:
        guest.qmp("query-status")
        time.sleep(random.uniform(0, 1.5))
        keeper, pager = taken.process("keeper"), taken.process("pager")
        if not keeper or not pager:
            run.communicate(timeout=60)
            return None
        kill(keeper)
        kill(pager)
        run.communicate(timeout=20)
        stuck = is_stuck(guest)
        done = lab.firn(*taken.argv("--resume"), env=taken.env, check=False,
                        timeout=180)
        # It may also come to that between the two.
        if stuck or (done.returncode == 20 and is_stuck(guest)):
            assert done.returncode == 20, done
            stuck = True
        else:
            assert done.returncode == 0, done
            taken.expect_good(guest)
    forget(taken)
    return not stuck


def soak_pagers(version):
    kills = restores = 0
    while kills < KILLS:
        kills += kill_some(version, min(20, KILLS - kills))
        restores += 1
    print(f"{version}: {kills} pagers killed in {restores} restores, 0 guests"
          " lost", flush=True)


def soak_both(version):
    results = []
    while len(results) < BOTH:
        back = kill_both(version)
        if back is not None:
            results.append(back)
    back = sum(results)
    print(f"{version}: keeper and pager killed {BOTH} times, {back} guests had"
          f" back, {BOTH - back} waited in QEMU's main loop", flush=True)


def test_pagers_are_killed():
    for version in VERSIONS:
        soak_pagers(version)


def test_keeper_and_pager_are_killed():
    for version in VERSIONS:
        soak_both(version)


if __name__ == "__main__":
    print(f"seed {SEED}", flush=True)
    random.seed(SEED)
    lab.main(globals())
