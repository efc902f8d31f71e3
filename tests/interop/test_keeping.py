#!/usr/bin/env python3
"""forget, prune, check and repair on repositories with many snapshots, in
seconds; the soaks beside this do the same for long.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
os.environ.setdefault("FIRN_SOAK_KILLS", "6")
os.environ.setdefault("FIRN_SOAK_SECONDS", "12")
os.environ.setdefault("FIRN_SOAK_HOURS", "30")
import keeping  # noqa: E402
from keeping import lab  # noqa: E402
from soak_hourly import test_space_and_time_follow_what_is_kept  # noqa: E402,F401
from soak_many import test_many_at_once_leave_a_clean_repository  # noqa: E402,F401
from soak_prune_kills import test_prunes_killed_at_random_moments_lose_nothing  # noqa: E402,F401,E501


def test_a_policy_is_followed_and_explained():
    repo = keeping.new_repository()
    memory = keeping.Memory("vm1", 2, 1)
    snaps = []
    for day in range(1, 10):
        for hour in (6, 18):
            memory.change(0.1)
            snaps.append(memory.store(
                repo, "--time", f"2026-03-{day:02} {hour:02}:00:00"))
    plan = lab.firn_json("--repo", repo, "--json", "forget", "--keep-daily",
                         "3", "--keep-last", "2", "--dry-run")
    assert plan[-1]["kept"] == 4 and plan[-1]["removed"] == 14, plan[-1]
    assert len(keeping.listed(repo)) == 18
    kept = [p for p in plan[:-1] if p["action"] == "keep"]
    assert [p["id"] for p in kept] == [snaps[i] for i in (13, 15, 16, 17)]
    assert kept[-1]["reasons"] == ["last snapshot", "daily snapshot"]
    before = keeping.packs_bytes(repo)
    done = lab.firn_json("--repo", repo, "--json", "forget", "--keep-daily",
                         "3", "--keep-last", "2", "--prune")
    assert done[-1]["type"] == "prune" and done[-1]["finished"], done[-1]
    assert keeping.packs_bytes(repo) < before * 0.6
    keeping.expect_clean(repo)
    for snap in keeping.listed(repo):
        memory.verify(repo, snap)


def test_mistakes_remove_nothing():
    repo = keeping.new_repository()
    memory = keeping.Memory("vm1", 1, 1)
    memory.store(repo)
    for args, status in ((["forget"], 2), (["forget", "--vm", "vm1"], 2),
                         (["forget", "--keep-tag", "a=b"], 1),
                         (["forget", "latest", "--keep-last", "1"], 2),
                         (["forget", "abcd"], 1),
                         (["prune", "--max-unused", "101"], 2),
                         (["repair"], 2), (["repair", "packs"], 2)):
        done = lab.firn("--repo", repo, *args, check=False)
        assert done.returncode == status, (args, done)
    assert len(keeping.listed(repo)) == 1


def test_what_a_snapshot_needs_alone_comes_back_with_it():
    repo = keeping.new_repository()
    memory = keeping.Memory("vm1", 1, 1)
    first = memory.store(repo)
    for _ in range(20):
        memory.change(0.02)
        memory.store(repo)
    lines = lab.firn_json("--repo", repo, "--json", "list")
    assert len(lines) == 21 and lines[0]["id"] == first
    assert all(line["unique_bytes"] > 0 for line in lines)
    alone = lines[10]["unique_bytes"]
    before = keeping.packs_bytes(repo)
    lab.firn("--repo", repo, "-q", "forget", lines[10]["id"])
    keeping.prune(repo, "--max-unused", "0")
    freed = before - keeping.packs_bytes(repo)
    assert alone * 0.5 < freed < alone * 20, (alone, freed)


def test_shares_of_checks_are_seen_in_the_list():
    repo = keeping.new_repository()
    memory = keeping.Memory("vm1", 2, 1)
    memory.store(repo)

    def seen():
        line = lab.firn_json("--repo", repo, "--json", "list")[0]
        return line["checked"], line["data_checked"]

    assert seen() == (None, None)
    lab.firn("--repo", repo, "-q", "check")
    assert seen()[0] and not seen()[1]
    for _ in range(3):
        assert not seen()[1]
        lab.firn("--repo", repo, "-q", "check", "--read-data=34")
    assert seen()[1]


if __name__ == "__main__":
    lab.main(globals())
