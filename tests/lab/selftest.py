#!/usr/bin/env python3
"""The lab tests itself: guests of both versions live, prove their memory, and
catch it when it is spoiled, by us or by a QEMU that loses writes."""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import capture
import lab


def check_guest(version):
    uuid = "6f1c1d4e-5a0b-4c57-9d7e-0a3c8f0b1a2d"
    with lab.Guest(version, mem=128, uuid=uuid, name="selftest",
                   kernel_args="firn.mb=32 firn.hb=20") as guest:
        assert "%d.%d" % guest.monitor.version[:2] == version
        assert guest.qmp("query-uuid")["UUID"] == uuid
        guest.wait_heartbeat()
        first = guest.heartbeat_advances()
        found = guest.assert_good()
        assert found["pages"] == 32 * 256
        later = guest.heartbeat_advances()
        assert later.n > first.n and later.writes > first.writes

        guest.stop()
        assert guest.status() == "paused"
        try:
            guest.heartbeat_advances(timeout=0.3)
            raise AssertionError("a stopped guest has a heartbeat")
        except lab.Timeout:
            pass
        guest.cont()
        guest.heartbeat_advances()

        guest.idle()
        still = guest.verify()["gen_sum"]
        guest.heartbeat_advances()
        assert guest.verify()["gen_sum"] == still
        guest.busy()
        guest.heartbeat_advances()
        assert guest.verify()["gen_sum"] > still


def check_spoiled(version, how, reason):
    with lab.Guest(version, mem=128,
                   kernel_args="firn.mb=32 firn.verify=0") as guest:
        guest.wait_heartbeat()
        guest.idle()
        assert guest.verify()["bad"] == 0
        page = guest.cmd(f"spoil {how}").split("page=")[1]
        assert guest.verify()["bad"] == 1
        line, = guest.bad_lines()
        assert f"page={page} " in line and f"reason={reason}" in line, line


def test_guest_of_7_2_lives():
    check_guest("7.2")


def test_guest_of_10_0_lives():
    check_guest("10.0")


def test_stale_page_is_caught():
    check_spoiled("7.2", "stale", "stale by=1")


def test_damaged_page_is_caught():
    check_spoiled("10.0", "bit", "damaged words=1")


def test_guest_started_by_others_can_be_attached():
    guest = lab.Guest("10.0", mem=128, kernel_args="firn.mb=16")
    first = guest.wait_heartbeat(3)
    guest.kill()
    assert guest.serial_size() > 0
    # A shell in between, as a tool would be; the process is not our child.
    subprocess.run(["sh", "-c", 'setsid "$@" >/dev/null 2>&1 &', "sh",
                    *guest.command], check=True, timeout=10)
    with lab.Guest.attach(guest.dir) as again:
        assert again.pid and again.alive()
        again.heartbeat_advances()
        again.assert_good()
        pid = again.pid
    # Empty for a process that is gone, and for one that nobody reaped yet.
    assert not lab._cmdline(pid)
    # One file shows the guest before and after.
    assert guest.heartbeats()[0].n == 1 and first.n >= 3


def test_nothing_is_left_after_sigterm():
    code = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
import lab, time
g = lab.Guest("10.0", mem=64, kernel=False, paused=True)
h = lab.Guest("10.0", mem=64, kernel=False, paused=True)
h.kill()
subprocess.run(["sh", "-c", 'setsid "$@" >/dev/null 2>&1 &', "sh", *h.command])
h = lab.Guest.attach(h.dir)
print(g.pid, h.pid, g.dir, h.dir, flush=True)
time.sleep(60)
"""
    child = lab.start([sys.executable, "-c", code, os.path.dirname(__file__)],
                      stdout=subprocess.PIPE, text=True)
    pid1, pid2, dir1, dir2 = child.stdout.readline().split()
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 128 + signal.SIGTERM
    for path in f"/proc/{pid1}", dir1, dir2:
        assert not os.path.exists(path), path
    lab.wait_until(lambda: not lab._cmdline(pid2), 5, "end of the other QEMU")


# A capture of some rounds, with a short last one: little time for a TLB flush
# that would show QEMU 7.2 the writes it loses.
ROUNDS = {"max_bandwidth": 100_000_000, "downtime_limit": 30}


def bad_after_restore(version, take, kernel_args="firn.mb=64"):
    """Captures a busy guest with take(guest) and restores it into a fresh
    QEMU; returns the number of wrong pages found there, or None if the guest
    does not even have a heartbeat."""
    with lab.Guest(version, mem=192, kernel_args=kernel_args) as guest:
        guest.wait_heartbeat(3)
        stream = take(guest)
        guest.cont()
        guest.heartbeat_advances()
        guest.assert_good()
        guest.kill()
        capture.replay(stream, guest)
        guest.cont()
        try:
            guest.heartbeat_advances(timeout=8)
            guest.verify(timeout=20)
            return guest.state()["bad"]
        except lab.Timeout:
            return None


def take_live(guest):
    return capture.capture(guest, parameters=ROUNDS)


def take_stopped(guest):
    guest.stop()
    return capture.capture(guest)


def test_live_capture_of_10_0_is_right():
    assert bad_after_restore("10.0", take_live) == 0


def test_stopped_capture_of_7_2_is_right():
    assert bad_after_restore("7.2", take_stopped) == 0


def test_background_capture_of_7_2_is_right():
    assert bad_after_restore("7.2", capture.capture_background) == 0


def test_background_capture_of_10_0_is_right():
    assert bad_after_restore("10.0", capture.capture_background) == 0


def test_writes_that_7_2_loses_are_noticed():
    # Wrong in nearly every capture; one of four is enough.
    assert any(
        bad_after_restore("7.2", take_live, "firn.mb=64 firn.verify=0") != 0
        for _ in range(4))


lab.main(globals())
