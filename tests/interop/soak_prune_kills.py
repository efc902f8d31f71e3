#!/usr/bin/env python3
"""Prunes killed at random moments (FIRN_SOAK_KILLS, 100): nothing that is
listed is lost, the next prune finishes, and no file stays without a reason.
"""
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
import keeping  # noqa: E402
from keeping import lab  # noqa: E402

KILLS = int(os.environ.get("FIRN_SOAK_KILLS", "100"))
SIGNALS = [signal.SIGKILL] * 4 + [signal.SIGTERM, signal.SIGINT]


def killed(repo, after, how):
    """A prune that gets a signal after so many seconds: did it die of it?"""
    process = lab.firn_start("--repo", repo, "prune", "--max-unused", "3")
    time.sleep(after)
    process.send_signal(how)
    process.communicate(timeout=120)
    # 128 + the signal once firn handles it, the signal itself in its first
    # moment.
    assert process.returncode in (0, -how, 128 + how), process.returncode
    return process.returncode != 0


def test_prunes_killed_at_random_moments_lose_nothing():
    random.seed(7)
    repo = keeping.new_repository()
    memory = keeping.Memory("vm1", 24, 1)
    kept, deaths, took, begun, tries = [], 0, 0.3, 0, 0
    while deaths < KILLS:
        tries += 1
        assert tries < 20 * KILLS, "it never takes long enough"
        # Something to do: new snapshots, old ones gone.
        for _ in range(2):
            memory.change(0.1)
            kept.append(memory.store(repo))
        while len(kept) > 4:
            gone = kept.pop(random.randrange(len(kept)))
            lab.firn("--repo", repo, "-q", "forget", gone)
        if tries % 10 == 1:
            begun = time.monotonic()
            keeping.prune(repo, "--max-unused", "3")
            took = time.monotonic() - begun
            continue
        if not killed(repo, random.uniform(0, took), random.choice(SIGNALS)):
            continue
        deaths += 1
        assert set(keeping.listed(repo)) == set(kept)
        memory.verify(repo, random.choice(kept))
        if deaths % 10 == 0:
            last = keeping.prune(repo, "--max-unused", "3")
            assert last["finished"] and last["condemned_packs"] == 0, last
            keeping.expect_clean(repo)
            for snap in kept:
                memory.verify(repo, snap)
    last = keeping.prune(repo, "--max-unused", "3")
    assert last["finished"] and last["condemned_packs"] == 0, last
    keeping.expect_clean(repo)
    for snap in kept:
        memory.verify(repo, snap)
    keeping.say(f"{deaths} prunes died of {tries}, one takes {took:.2f} s;"
                f" all {len(kept)} kept snapshots are whole")


if __name__ == "__main__":
    lab.main(globals())
