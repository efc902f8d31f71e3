#!/usr/bin/env python3
"""Pagers, keepers and fronts that end, hang or lose their sockets in the
middle of a lazy restore; the VM, and its guest's memory, must not mind.

    test_recovery.py [test_...]
"""
import json
import os
import random
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402
from restored import (Taken, alive, break_sockets, pack_paths,  # noqa: E402
                      runtime_env, shared, wait_completed)

VERSIONS = ("7.2", "10.0")
# Slow enough that everything here happens while pages are owed.
SLOW = ("--max-bandwidth", "24M")


def begin(taken, *args):
    """A restore whose VM runs, and pages are owed."""
    run = taken.start(*SLOW, *args)
    line = json.loads(run.stdout.readline())
    assert line["type"] == "running", line
    return run


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    lab.wait_until(lambda: not alive(pid), 10, f"end of {pid}")


def end_well(taken, run, timeout=120):
    out, err = run.communicate(timeout=timeout)
    assert run.returncode == 0, (run.returncode, out, err)
    assert json.loads(out.splitlines()[-1])["type"] == "resident", (out, err)
    with taken.back() as guest:
        taken.expect_good(guest)
    assert taken.runtime_files(".json") == []
    return err


# The pager.


def test_a_pager_that_hangs_is_replaced():
    for version in VERSIONS:
        taken = shared(version)
        run = begin(taken, "--pager-timeout", "1s")
        stopped = taken.wait_process("pager")
        os.kill(stopped, signal.SIGSTOP)
        taken.wait_process("pager", (stopped,))
        assert not alive(stopped)
        assert "hangs" in end_well(taken, run)


def test_a_qemu_that_stands_still_is_no_pager_that_hangs():
    taken = shared()
    run = begin(taken, "--pager-timeout", "1s")
    qemu, pager = taken.process("qemu"), taken.wait_process("pager")
    os.kill(qemu, signal.SIGSTOP)
    time.sleep(4)
    assert taken.process("pager") == pager
    os.kill(qemu, signal.SIGCONT)
    assert "new pager" not in end_well(taken, run)


def test_a_socket_that_breaks_brings_a_new_pager():
    for version in VERSIONS:
        taken = shared(version)
        run = begin(taken)
        pager = taken.wait_process("pager")
        if not break_sockets(pager):
            run.kill()
            raise lab.Skip("no right to take another process's descriptors")
        taken.wait_process("pager", (pager,))
        end_well(taken, run)


def kill_pagers(version, times, longest, *args):
    """Kills within `longest` seconds after each pager began: its handshake is
    among what they hit. More kills than there are spare connections."""
    taken = shared(version)
    # Slower than SLOW: all of them must come before the end.
    run = begin(taken, "--max-bandwidth", "4M", *args)
    killed = set()
    for _ in range(times):
        pid = taken.wait_process("pager", killed)
        time.sleep(random.uniform(0, longest))
        kill(pid)
        killed.add(pid)
    end_well(taken, run)
    assert len(killed) == times


def test_20_pagers_are_killed_on_7_2():
    kill_pagers("7.2", 20, 0.2)


def test_20_pagers_are_killed_on_10_0():
    kill_pagers("10.0", 20, 0.2)


def test_pagers_that_never_get_anywhere_are_given_up_and_tried_again():
    taken = shared()
    run = begin(taken)
    # What every pager reads first cannot be read.
    path = f"{taken.repo}/snapshots/{taken.id}"
    os.rename(path, path + ".away")
    kill(taken.wait_process("pager"))
    out, err = run.communicate(timeout=60)
    assert run.returncode not in (0, 20), (run.returncode, out, err)
    assert "--resume" in out + err, (out, err)
    keeper = taken.process("keeper")
    assert keeper and taken.process("qemu")
    os.rename(path + ".away", path)
    events = taken.restore("--resume")
    assert "resident" in events, events
    with taken.back() as guest:
        taken.expect_good(guest)


# Keeper and pager together.


def resume_after_all_died(version, qmp):
    taken = shared(version)
    run = begin(taken)
    state = taken.state()
    taken.wait_process("pager")
    kill(taken.process("keeper"))
    kill(taken.process("pager"))
    run.communicate(timeout=20)
    assert taken.process("qemu") and not taken.process("keeper")
    args = {"none": [], "ours": ["--qmp", state["qmp"]],
            "theirs": ["--qmp", taken.guest.qmp_path]}[qmp]
    events = taken.restore("--resume", *args)
    assert "running" in events and "resident" in events, events
    with taken.back() as guest:
        taken.expect_good(guest)
    assert taken.runtime_files(".json") == []


def test_resume_goes_on_when_all_died():
    for version in VERSIONS:
        resume_after_all_died(version, "none")


def test_resume_goes_on_over_the_monitor_that_is_named():
    resume_after_all_died("7.2", "ours")
    resume_after_all_died("10.0", "theirs")


def test_resume_ends_a_pager_without_keeper():
    taken = shared()
    run = begin(taken)
    pager = taken.wait_process("pager")
    kill(taken.process("keeper"))
    run.communicate(timeout=20)
    assert alive(pager)
    taken.restore("--resume")
    assert not alive(pager)
    with taken.back() as guest:
        taken.expect_good(guest)


def test_resume_of_a_vm_that_has_all_its_pages():
    taken = shared()
    run = begin(taken)
    kill(taken.process("keeper"))
    run.communicate(timeout=20)
    with taken.back() as guest:
        wait_completed(guest)
        done = lab.firn("--repo", taken.repo, "restore", taken.id, "--resume",
                        env=taken.env)
        assert "already" in done.stderr, done
        taken.expect_good(guest)
        caps = {c["capability"]: c["state"]
                for c in guest.qmp("query-migrate-capabilities")}
        assert caps["postcopy-ram"] is False
    assert taken.runtime_files(".json") == []


def test_resume_feeds_no_foreign_pages():
    taken = shared()
    other = Taken()
    copied = os.path.join(lab.tmpdir("firn-repo-"), "r")
    lab.firn("init", copied)
    shutil.copytree(taken.repo + "/snapshots", copied + "/snapshots",
                    dirs_exist_ok=True)
    shutil.copytree(taken.repo + "/packs", copied + "/packs",
                    dirs_exist_ok=True)
    run = begin(taken)
    taken.wait_process("pager")
    kill(taken.process("keeper"))
    kill(taken.process("pager"))
    run.communicate(timeout=20)
    qmp = taken.guest.qmp_path

    def refused(status, words, repo, snapshot, *args, env=taken.env):
        done = lab.firn("--repo", repo, "restore", snapshot, "--resume", *args,
                        env=env, check=False)
        assert done.returncode == status, done
        assert all(w in done.stderr for w in words), done

    # Another snapshot, another repository, a user who knows of nothing.
    refused(21, [taken.id, other.id], other.repo, other.id, "--qmp", qmp)
    refused(1, [other.id], other.repo, other.id)
    refused(21, ["another repository"], copied, taken.id, "--qmp", qmp)
    refused(21, ["nothing", qmp], taken.repo, taken.id, "--qmp", qmp,
            env=runtime_env())
    # A VM that was never restored.
    with lab.Guest("10.0", kernel=False) as stranger:
        refused(21, ["nothing"], taken.repo, taken.id, "--qmp",
                stranger.qmp_path)
    taken.restore("--resume", "--qmp", qmp)
    with taken.back() as guest:
        taken.expect_good(guest)


def test_resume_of_what_is_at_work():
    taken = shared()
    run = begin(taken)
    error = taken.refuse(11, "--resume")
    assert "at work" in error["message"], error
    end_well(taken, run)
    # Detached, it may be listened to.
    taken = shared()
    begin(taken, "--detach").communicate(timeout=20)
    pager = taken.wait_process("pager")
    events = taken.restore("--resume")
    assert {"running", "resident"} <= set(events), events
    assert not alive(pager)
    with taken.back() as guest:
        taken.expect_good(guest)


# Damage that is repaired.


def lose_a_pack(taken):
    """Its restore, ended with status 13 while the VM runs; the pack's path."""
    pack = pack_paths(taken.repo)[0]
    run = begin(taken)
    os.rename(pack, pack + ".away")
    # A pager keeps the pack open, the next one does not find it.
    kill(taken.wait_process("pager"))
    out, err = run.communicate(timeout=60)
    assert run.returncode == 13, (run.returncode, out, err)
    assert "--resume" in out, out
    assert taken.process("keeper") and taken.process("pager")
    return pack


def away_and_back(version):
    taken = shared(version)
    pack = lose_a_pack(taken)
    os.rename(pack + ".away", pack)
    events = taken.restore("--resume")
    assert "resident" in events, events
    with taken.back() as guest:
        taken.expect_good(guest)


def test_a_pack_that_comes_back_lets_resume_finish():
    for version in VERSIONS:
        away_and_back(version)


def test_resume_beside_damage_that_is_still_there_says_so_again():
    taken = shared()
    pack = lose_a_pack(taken)
    error = taken.refuse(13, "--resume")
    assert os.path.basename(pack) in error["message"], error
    os.rename(pack + ".away", pack)
    # Also when nobody is left who knew of it.
    kill(taken.process("keeper"))
    events = taken.restore("--resume")
    assert "resident" in events, events
    with taken.back() as guest:
        taken.expect_good(guest)


# A snapshot while pages are owed.


def snapshot(taken, guest, *args):
    return lab.firn("--repo", taken.repo, "--json", "snapshot", "--qmp",
                    guest.qmp_path, *args, check=False, timeout=120)


def snapshot_while_lazy(version):
    taken = shared(version)
    run = begin(taken)
    with taken.back() as guest:
        assert guest.qmp("query-migrate")["status"] == "postcopy-active"
        # Not within a moment: refused by name, and the VM goes on.
        done = snapshot(taken, guest, "--timeout", "1ms")
        assert done.returncode == 1, done
        assert "still lacks pages" in done.stdout, done
        guest.heartbeat_advances()
        # With patience it comes behind them.
        done = snapshot(taken, guest)
        assert done.returncode in (0, 3), done
        again = json.loads(done.stdout.splitlines()[-1])["id"]
        assert "waiting" in done.stderr, done
        out, err = run.communicate(timeout=60)
        assert run.returncode == 0, (out, err)
        assert '"resident"' in out, out
        taken.expect_good(guest, migrated=False)
    taken.id = again
    taken.mark = taken.guest.serial_size()
    taken.restore()
    with taken.back() as guest:
        taken.expect_good(guest)


def test_a_snapshot_while_pages_are_owed_waits_for_them():
    for version in VERSIONS:
        snapshot_while_lazy(version)


def test_a_snapshot_of_a_vm_that_nobody_feeds_is_refused():
    taken = shared()
    run = begin(taken)
    taken.wait_process("pager")
    with taken.back() as guest:
        guest.qmp("query-status")
        kill(taken.process("keeper"))
        kill(taken.process("pager"))
        run.communicate(timeout=20)
        try:
            guest.qmp("query-status")
        except lab.Timeout:
            raise lab.Skip("QEMU's main loop waits for a page") from None
        done = snapshot(taken, guest, "--timeout", "2s")
        assert done.returncode in (1, 20), done
        if done.returncode == 1:
            assert "lacks pages" in done.stdout, done
            assert "--resume" in done.stdout, done
        listed = lab.firn_json("--repo", taken.repo, "--json", "list")
        assert len(listed) == 1, listed
        if done.returncode == 1:
            taken.restore("--resume")
            taken.expect_good(guest)


if __name__ == "__main__":
    lab.main(globals())
