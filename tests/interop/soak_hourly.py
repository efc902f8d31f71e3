#!/usr/bin/env python3
"""Hourly snapshots of a live guest for more than a week of its calendar
(FIRN_SOAK_HOURS, 200): space follows what is kept, the last capture takes no
longer than the fifth, and what is kept comes back.
"""
import os
import random
import shutil
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
import keeping  # noqa: E402
from keeping import lab  # noqa: E402

HOURS = int(os.environ.get("FIRN_SOAK_HOURS", "200"))
POLICY = ["--keep-hourly", "24", "--keep-daily", "7"]
FIRST = 1795000000  # 2026-11-18, a Wednesday


def capture(repo, guest, hour):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ",
                          time.gmtime(FIRST + hour * 3600))
    return lab.firn_json("--repo", repo, "--json", "snapshot", "--qmp",
                         guest.qmp_path, "--name", "vm1", "--time", stamp,
                         "--max-downtime", "10s",
                         timeout=300)[-1]


def cost_alone(repo):
    """What the kept snapshots cost in a repository that never held others: a
    copy of which no dead byte stays."""
    copy = os.path.join(lab.tmpdir("firn-alone-"), "r")
    shutil.copytree(repo, copy)
    last = keeping.prune(copy, "--max-unused", "0")
    assert last["finished"] and last["condemned_packs"] == 0, last
    keeping.expect_clean(copy)
    return keeping.packs_bytes(copy)


def test_space_and_time_follow_what_is_kept():
    repo = keeping.new_repository()
    took, cpu = [], []
    with lab.Guest("10.0", mem=256, name="vm1", kernel_args="firn.mb=64"
                   " firn.rate=300 firn.verify=0") as guest:
        guest.wait_heartbeat(3, timeout=300)
        for hour in range(HOURS):
            taken = capture(repo, guest, hour)
            took.append(taken["duration_ms"])
            cpu.append(sum(taken["cpu_ms"].values()))
            if hour % 6 == 5 or hour == HOURS - 1:
                lab.firn("--repo", repo, "-q", "forget", "--vm", "vm1",
                         *POLICY, "--prune", timeout=600)
        guest.heartbeat_advances()
        kept = keeping.listed(repo)
        chosen = random.choice(kept)
        command_dir = guest.dir
        guest.kill()
        mark = guest.serial_size()
        lab.firn("--repo", repo, "restore", chosen, timeout=300)
        back = lab.Guest.attach(command_dir)
        try:
            back.wait_heartbeat(1, timeout=300, since=mark)
            good = back.assert_good()
        finally:
            back.kill()
    # As the last hour left it: no prune more.
    used = keeping.packs_bytes(repo)
    early = statistics.median(took[2:8])
    late = statistics.median(took[-6:])
    # 24 hours, and of the days before them each the newest.
    assert min(HOURS, 24) <= len(kept) <= 31, kept
    keeping.say(f"{HOURS} captures, {len(kept)} kept, {used >> 10} KiB;"
                f" the 5th took {early} ms, the last {late} ms (of the"
                f" processor {statistics.median(cpu[2:8]):.0f} and"
                f" {statistics.median(cpu[-6:]):.0f});"
                f" {chosen} came back with {good}")
    need = cost_alone(repo)
    keeping.say(f"alone the kept ones cost {need >> 10} KiB:"
                f" {used / need:.2f}")
    assert used <= 1.3 * need, (used, need)
    # A day and a quarter is no measure of time, and a busy machine none at all.
    if HOURS >= 200:
        assert late <= 1.3 * early, took


if __name__ == "__main__":
    lab.main(globals())
