#!/usr/bin/env python3
"""A second connection for the pages that the guest waits for (--preempt), on
QEMU 10: what goes where, and deaths at each instant of a recovery by it.

    test_preempt.py [test_...]
"""
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402
from restored import alive, break_sockets, shared  # noqa: E402
from test_recovery import begin, end_well, kill, kill_pagers  # noqa: E402


def sockets_of(pid):
    """Connected stream sockets of a process."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    return [f for f in found if f.startswith("socket:")]


def capabilities(guest):
    return {c["capability"] for c in guest.qmp("query-migrate-capabilities")
            if c["state"]}


def test_it_restores():
    taken = shared()
    run = begin(taken, "--preempt")
    # Keeper's link, main, urgent.
    assert len(sockets_of(taken.wait_process("pager"))) == 3
    with taken.back() as guest:
        assert "postcopy-preempt" in capabilities(guest)
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, (out, err)
        taken.expect_good(guest)
        left = capabilities(guest)
        assert "postcopy-preempt" not in left, left


def test_it_restores_at_full_speed_and_without_a_fill():
    taken = shared()
    assert taken.restore("--preempt")["resident"]["faults"] > 0
    with taken.back() as guest:
        taken.expect_good(guest)
    taken = shared()
    begin(taken, "--preempt", "--fill", "off", "--detach").communicate()
    with taken.back() as guest:
        guest.wait_heartbeat(1, since=taken.mark)
        guest.assert_good()


def test_qemu_7_2_is_refused_by_name():
    taken = shared("7.2")
    for args in ((), ("--dry-run",)):
        error = taken.refuse(1, "--preempt", *args)
        assert "--preempt" in error["message"], error
        assert "7.2" in error["message"], error
    assert "resident" in taken.restore()
    with taken.back() as guest:
        taken.expect_good(guest)


def test_20_pagers_are_killed():
    kill_pagers("10.0", 20, 0.2, "--preempt")


def test_a_pager_that_hangs_is_replaced():
    taken = shared()
    run = begin(taken, "--preempt", "--pager-timeout", "1s")
    stopped = taken.wait_process("pager")
    os.kill(stopped, signal.SIGSTOP)
    taken.wait_process("pager", (stopped,))
    assert not alive(stopped)
    assert "hangs" in end_well(taken, run)


def test_sockets_that_break_bring_a_new_pager():
    taken = shared()
    run = begin(taken, "--preempt")
    pager = taken.wait_process("pager")
    if not break_sockets(pager):
        run.kill()
        raise lab.Skip("no right to take another process's descriptors")
    taken.wait_process("pager", (pager,))
    end_well(taken, run)


def resume_when_all_died(delay):
    """Whoever comes later recovers by two connections as well. False: that
    cannot be, QEMU's main loop waits for a page."""
    taken = shared()
    run = begin(taken, "--preempt")
    with taken.back() as guest:
        kill(taken.wait_process("pager"))
        time.sleep(delay)
        kill(taken.process("keeper"))
        pager = taken.process("pager")
        if pager:
            kill(pager)
        run.communicate(timeout=20)
        done = lab.firn(*taken.argv("--resume"), env=taken.env, check=False,
                        timeout=120)
        if done.returncode == 20:
            try:
                guest.qmp("query-status")
            except lab.Timeout:
                return False
        assert done.returncode == 0, done
        taken.expect_good(guest)
    return True


def test_resume_goes_on_when_the_keeper_died_in_a_recovery():
    """The keeper itself opens both connections: it is killed at random instants
    behind the end of a pager, with whatever pager it has by then."""
    back = [resume_when_all_died(random.uniform(0, 0.03)) for _ in range(4)]
    assert any(back)
    print(f"{back.count(True)} had back, {back.count(False)} stuck")


if __name__ == "__main__":
    lab.main(globals())
