#!/usr/bin/env python3
"""QEMU's main loop itself waits for a page when the pager ends: no command is
answered any more and no new monitor can be had, but the keeper has one.

    test_stuck.py [test_...]

The main loop is made to wait by `pmemsave`, which reads the guest's memory.
"""
import os
import signal
import socket
import subprocess
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

    def expect_saved(self):
        """The command that waited comes to its end."""
        answer = self.guest.monitor._receive(time.monotonic() + 60)
        while "event" in answer:
            answer = self.guest.monitor._receive(time.monotonic() + 60)
        assert answer == {"return": {}}, answer
        assert self.saved_bytes() == MEMORY

    def expect_rescued(self):
        """By the keeper that was there from the beginning."""
        self.expect_saved()
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


# Keeper and pager together, under a service manager.


class Manager:
    """What systemd does for a unit with FileDescriptorStoreMax=."""

    def __init__(self):
        self.path = os.path.join(lab.tmpdir("firn-notify-"), "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.store = {}

    def take(self):
        """What was sent until now."""
        self.socket.setblocking(False)
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
            except BlockingIOError:
                return self.store
            told = dict(line.split("=", 1)
                        for line in data.decode().splitlines())
            if "FDSTORE" in told:
                assert len(fds) == 1, (told, fds)
                self.store[told["FDNAME"]] = fds[0]
            elif "FDSTOREREMOVE" in told:
                os.close(self.store.pop(told["FDNAME"]))

    def start_again(self, taken, *args):
        """The unit's next start, with what was kept: a finished process."""
        (name, fd), = self.take().items()
        words = (lab.firn_path(), *taken.argv(*args))
        return subprocess.run(
            ["sh", "-c", 'LISTEN_PID=$$ exec "$@" 3<&$KEPT', "sh", *words],
            env={**os.environ, **taken.env, "NOTIFY_SOCKET": self.path,
                 "LISTEN_FDS": "1", "LISTEN_FDNAMES": name,
                 "KEPT": str(fd)},
            pass_fds=[fd], text=True, capture_output=True, timeout=120)


def all_killed(version, *args):
    manager = Manager()
    taken = shared(version)
    taken.env["NOTIFY_SOCKET"] = manager.path
    stuck = Stuck(taken, *args)
    name = f"firn-qemu-{taken.process('qemu')}"
    assert list(manager.take()) == [name], manager.store
    kill(stuck.keeper)
    kill(stuck.pager)
    stuck.run.communicate(timeout=20)
    stuck.expect_stuck()
    done = manager.start_again(taken, "--resume")
    assert done.returncode == 0, done
    assert "main loop waits" in done.stderr, done
    assert '"resident"' in done.stdout, done
    stuck.expect_saved()
    taken.expect_good(stuck.guest)
    # It is given back when nothing is owed any more.
    assert manager.take() == {}
    stuck.close()


def test_what_a_service_manager_kept_brings_back_a_stuck_vm():
    all_killed("7.2")
    all_killed("10.0")
    all_killed("10.0", "--preempt")


if __name__ == "__main__":
    lab.main(globals())
