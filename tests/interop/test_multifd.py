#!/usr/bin/env python3
"""Captures through multifd channels: of real QEMUs, with both kinds of sync
points, by every method and number of channels; what is stored is what the
guest had.

    test_multifd.py [test_...]
"""
import json
import random
import re
import signal
import time

import test_capture as capture
from test_capture import lab

KERNEL = "firn.mb=48 firn.hot=2 firn.rate=2000"
DEFAULTS = {"multifd-channels": 2, "multifd-compression": "none",
            "multifd-zlib-level": 1, "multifd-zstd-level": 1,
            **capture.DEFAULTS}
CHANNEL = re.compile(r"channel (\d+): (\d+) bytes, (\d+) sync points")


def take(repo, vm, *more):
    """A snapshot; what it printed, and what each channel brought: its bytes
    and sync points by number."""
    done = lab.firn("--json", "--debug", "multifd",
                    *capture.words(repo, vm, *more), check=False)
    assert done.returncode in (0, 3), (done.returncode, done.stdout,
                                       done.stderr)
    channels = {int(c): (int(n), int(k))
                for c, n, k in CHANNEL.findall(done.stderr)}
    return json.loads(done.stdout.splitlines()[-1]), channels


def check_channels(told, channels, n):
    """Every one of them carried pages, all passed the same sync points."""
    assert told["mode"] == "stream" and told["channels"] == n, told
    assert told["pages"]["unseen"] == 0, told
    assert sorted(channels) == list(range(n)), channels
    assert min(size for size, _ in channels.values()) > 10000, channels
    passed = {k for _, k in channels.values()}
    assert len(passed) == 1 and min(passed) >= 2, channels


def assert_settings(vm):
    on = [c["capability"] for c in vm.qmp("query-migrate-capabilities")
          if c["state"]]
    parameters = vm.qmp("query-migrate-parameters")
    found = {key: parameters[key] for key in DEFAULTS}
    assert (on, found) == ([], DEFAULTS), (on, found)


def restore_lazily(repo, snap, vm):
    """The guest itself looks at every page."""
    vm.kill()
    mark = vm.serial_size()
    lab.firn("--repo", repo, "restore", snap, timeout=60)
    with lab.Guest.attach(vm.dir) as back:
        back.wait_heartbeat(1, since=mark)
        back.assert_good()


def check_live(n, *more, extra=(), **kwargs):
    repo = capture.new_repository()
    with lab.Guest("10.0", mem=capture.MEM, kernel_args=KERNEL, name="vm",
                   extra=extra, **kwargs) as vm:
        vm.wait_heartbeat(3)
        told, channels = take(repo, vm, "--channels", n, *more)
        check_channels(told, channels, n)
        vm.heartbeat_advances()
        vm.assert_good()
        assert_settings(vm)
        capture.assert_clean(repo, 1)
        restore_lazily(repo, told["id"], vm)
    return told, channels


def test_live_10_0_by_one_channel():
    check_live(1)


def test_live_10_0_by_two_channels():
    check_live(2)


def test_live_10_0_by_four_channels():
    check_live(4)


def test_live_10_0_by_sixteen_channels():
    check_live(16)


def test_live_10_0_by_zstd():
    told, channels = check_live(2, "--multifd-compression", "zstd")
    size = sum(size for size, _ in channels.values())
    assert size < (told["ram_bytes"] - told["pages"]["zero"] * 4096) * 0.9


def test_live_10_0_of_an_older_machine_type():
    """Sync points at each section's end, zero pages in the main channel."""
    check_live(4, machine="pc-i440fx-7.2")


def test_live_10_0_with_sync_points_forced_to_sections():
    check_live(2, extra=["-global",
                         "migration.multifd-flush-after-each-section=on"])


def check_paused(version, *more, prepare=None, after="paused", **kwargs):
    """What is stored is the memory of the VM, byte for byte."""
    repo = capture.new_repository()
    with lab.Guest(version, mem=capture.MEM, kernel_args=KERNEL, name="vm",
                   **kwargs) as vm:
        vm.wait_heartbeat(3)
        if prepare:
            prepare(vm)
        vm.stop()
        told, channels = take(repo, vm, "--mode", "stream", "--channels", 3,
                              *more)
        check_channels(told, channels, 3)
        capture.assert_stands_still(vm, after)
        assert capture.stored_memory(repo, told["id"]) == (
            capture.memory_of(vm))
        assert_settings(vm)
        vm.cont()
        vm.heartbeat_advances()
        vm.assert_good()
    capture.assert_clean(repo, 1)


def test_paused_10_0_by_no_method():
    check_paused("10.0")


def test_paused_10_0_by_zlib():
    check_paused("10.0", "--multifd-compression", "zlib")


def test_paused_10_0_with_zero_pages_in_the_main_channel():
    check_paused("10.0", prepare=lambda vm: vm.qmp(
        "migrate-set-parameters", zero_page_detection="legacy"))


def test_paused_10_0_with_zero_pages_as_data():
    check_paused("10.0", prepare=lambda vm: vm.qmp(
        "migrate-set-parameters", zero_page_detection="none"))


def test_paused_7_2_by_no_method():
    check_paused("7.2", after="postmigrate")


def test_paused_7_2_by_zlib():
    check_paused("7.2", "--multifd-compression", "zlib", after="postmigrate")


def test_paused_7_2_by_zstd():
    check_paused("7.2", "--multifd-compression", "zstd", after="postmigrate")


def test_settings_of_others_are_put_back():
    repo = capture.new_repository()
    theirs = {"multifd-channels": 9, "multifd-compression": "zlib",
              "multifd-zlib-level": 4, "multifd-zstd-level": 17}
    with capture.guest("10.0") as vm:
        vm.qmp("migrate-set-parameters", **theirs)
        told, channels = take(repo, vm, "--channels", 2)
        check_channels(told, channels, 2)
        found = vm.qmp("query-migrate-parameters")
        assert {key: found[key] for key in theirs} == theirs, found
        vm.qmp("migrate-set-parameters",
               **{key: DEFAULTS[key] for key in theirs})
        capture.assert_as_before(vm)


def test_kill_9_with_channels_leaves_the_vm_running():
    """At random moments; the next capture works and puts all back."""
    repo = capture.new_repository()
    seed = random.randrange(1 << 30)
    print(f"  seed {seed}", flush=True)
    moments = random.Random(seed)
    done = 0
    with capture.guest("10.0") as vm:
        for _ in range(5):
            process = lab.firn_start("-q", *capture.words(
                repo, vm, "--channels", 4))
            time.sleep(moments.uniform(0.01, 0.6))
            process.kill()
            process.communicate(timeout=20)
            done += process.returncode in (0, 3)
            capture.await_end_of_migration(vm)
            lab.wait_until(lambda: vm.status() == "running", 10, "running VM")
            vm.heartbeat_advances()
        take(repo, vm, "--channels", 4)
        capture.assert_as_before(vm)
        assert_settings(vm)
        assert len(capture.listed(repo)) >= done + 1
    capture.assert_clean(repo, len(capture.listed(repo)))


def test_sigint_ends_all_channels():
    repo = capture.new_repository()
    with capture.guest("10.0") as vm:
        process = lab.firn_start(*capture.words(
            repo, vm, "--channels", 4, "--max-bandwidth", "4M"))
        lab.wait_until(lambda: vm.qmp("query-migrate").get("status")
                       == "active", 20, "active migration")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, (process.returncode, errors)
        capture.assert_as_before(vm)
        assert_settings(vm)
    capture.assert_clean(repo, 0)


def test_full_disk_ends_all_channels():
    with capture.small_disk("8m") as folder, capture.guest("10.0") as vm:
        repo = capture.new_repository(folder)
        before = capture.files_of(repo)
        error = capture.refused(15, *capture.words(repo, vm, "--channels", 4))
        assert error["code"] == "no_space", error
        assert capture.files_of(repo) == before, capture.files_of(repo)
        capture.assert_as_before(vm)
        assert_settings(vm)


def test_channels_that_make_no_sense_are_usage_errors():
    repo = capture.new_repository()
    for more in (["--channels", "0"], ["--channels", "17"],
                 ["--multifd-compression", "qpl"]):
        capture.refused(2, "--repo", repo, "snapshot", "--qmp", "/x", *more)


if __name__ == "__main__":
    # Those that name 7.2 last: fewer guests are booted.
    lab.main(dict(sorted(globals().items(), key=lambda i: "7_2" in i[0])))
