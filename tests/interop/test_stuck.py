#!/usr/bin/env python3
"""QEMU's main loop itself waits for a page when the pager ends: no command is
answered any more and no new monitor can be had, but the keeper has one.

    test_stuck.py [test_...]

The main loop is made to wait by `pmemsave`, which reads the guest's memory.
"""
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402
from restored import alive, shared  # noqa: E402
from test_recovery import VERSIONS, begin, kill  # noqa: E402

MEMORY = 256 << 20


def answers_a_stranger(path):
    """Whether a monitor can be negotiated over a fresh connection."""
    try:
        lab.Qmp(path, timeout=2).close()
    except (lab.Timeout, socket.timeout):
        return False
    return True


class Stuck:
    """A restored VM whose main loop waits for a page; its pager stands still.
    """

    def __init__(self, taken, *args):
        self.taken = taken
        self.run = begin(taken, *args)
        self.keeper = taken.process("keeper")
        self.guest = lab.Guest.attach(taken.guest.dir)
        self.pager = taken.wait_process("pager")
        os.kill(self.pager, signal.SIGSTOP)
        self.saved = os.path.join(lab.tmpdir("firn-saved-"), "memory")
        self.guest.monitor.send({
            "execute": "pmemsave",
            "arguments": {"val": 0, "size": MEMORY, "filename": self.saved}})
        self.expect_stuck()

    def expect_stuck(self):
        time.sleep(0.5)
        assert self.saved_bytes() < MEMORY
        assert not answers_a_stranger(self.taken.guest.qmp_path)

    def saved_bytes(self):
        """It may wait even before it begins."""
        try:
            return os.path.getsize(self.saved)
        except FileNotFoundError:
            return 0

    def expect_rescued(self):
        """By the keeper that was there from the beginning."""
        answer = self.guest.monitor._receive(time.monotonic() + 60)
        while "event" in answer:
            answer = self.guest.monitor._receive(time.monotonic() + 60)
        assert answer == {"return": {}}, answer
        assert self.saved_bytes() == MEMORY
        assert self.taken.process("keeper") in (self.keeper, 0)
        out, err = self.run.communicate(timeout=120)
        assert self.run.returncode == 0, (self.run.returncode, out, err)
        assert "new pager" in err, err
        self.taken.expect_good(self.guest)

    def close(self):
        self.guest.kill()


def killed(version, *args):
    taken = shared(version)
    stuck = Stuck(taken, *args)
    kill(stuck.pager)
    stuck.expect_rescued()
    stuck.close()


def test_a_pager_is_killed_while_the_main_loop_waits():
    for version in VERSIONS:
        killed(version)


def test_the_same_with_two_connections():
    killed("10.0", "--preempt")


def test_a_pager_that_hangs_is_replaced_while_the_main_loop_waits():
    for version, args in (("7.2", ()), ("10.0", ()), ("10.0", ("--preempt",))):
        stuck = Stuck(shared(version), "--pager-timeout", "4s", *args)
        lab.wait_until(lambda: not alive(stuck.pager), 10, "its end")
        stuck.expect_rescued()
        stuck.close()


def many_killed(version, *args):
    """Each of them before the main loop has what it waits for, as a rule."""
    stuck = Stuck(shared(version), *args)
    taken, seen = stuck.taken, {stuck.pager}
    kill(stuck.pager)
    for _ in range(5):
        pid = taken.wait_process("pager", seen)
        kill(pid)
        seen.add(pid)
    stuck.expect_rescued()
    stuck.close()


def test_pagers_are_killed_in_a_row_while_the_main_loop_waits():
    for version in VERSIONS:
        many_killed(version)
    many_killed("10.0", "--preempt")


if __name__ == "__main__":
    lab.main(globals())
