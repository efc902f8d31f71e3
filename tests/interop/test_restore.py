#!/usr/bin/env python3
"""Restores into real QEMUs of both versions, each judged by the guest itself.

    test_restore.py [test_...]
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402
from restored import (KERNEL, Taken, is_qemu_of, pack_paths,  # noqa: E402
                      pager_of, pagers_of, shared)


# Lazy and eager, by version.


def lazily(version):
    taken = shared(version)
    events = taken.restore()
    running, resident = events["running"], events["resident"]
    assert running["read_bytes"] < running["image_bytes"] / 4, running
    assert resident["elapsed_ms"] >= running["elapsed_ms"], events
    assert resident["filled_pages"] > 10000, resident
    assert resident["faults"] > 0, resident
    assert resident["fault_p50_us"] <= resident["fault_p99_us"], resident
    with taken.back() as guest:
        taken.expect_good(guest)
        caps = {c["capability"]: c["state"]
                for c in guest.qmp("query-migrate-capabilities")}
        assert caps["postcopy-ram"] is False
        assert guest.pid == running["qemu_pid"]
    assert taken.runtime_files(".json") == []
    assert taken.leases() == []


def test_7_2_comes_back_lazily():
    lazily("7.2")


def test_10_0_comes_back_lazily():
    lazily("10.0")


def eagerly(version):
    taken = shared(version)
    events = taken.restore("--eager")
    running = events["running"]
    assert running["read_bytes"] >= running["image_bytes"] * 0.9, running
    assert events["resident"]["faults"] == 0
    with taken.back() as guest:
        taken.expect_good(guest)


def test_7_2_comes_back_eagerly():
    eagerly("7.2")


def test_10_0_comes_back_eagerly():
    eagerly("10.0")


def test_7_2_comes_back_in_10_0():
    taken = Taken("7.2", machine=lab.COMMON_MACHINE)
    argv = lab.qemu("10.0") + taken.guest.command[len(lab.qemu("7.2")):]
    taken.restore("--", *argv)
    with taken.back() as guest:
        assert guest.qmp("query-version")["qemu"]["major"] == 10
        taken.expect_good(guest)


def test_a_restored_vm_can_be_captured_and_restored_again():
    taken = shared()
    taken.restore()
    with taken.back() as guest:
        taken.expect_good(guest)
        again = lab.firn_json("--repo", taken.repo, "--json", "snapshot",
                              "--qmp", guest.qmp_path)[-1]["id"]
        assert again != taken.id
    taken.id = again
    taken.mark = taken.guest.serial_size()
    taken.restore()
    with taken.back() as guest:
        taken.expect_good(guest)


# Into a QEMU that waits.


def into_waiting(version, *args, extra=()):
    taken = shared(version)
    guest = lab.Guest(version, dir=taken.guest.dir, start=False)
    guest.command = taken.guest.command + ["-incoming", "defer", *extra]
    guest.launch()
    with guest:
        events = taken.restore("--qmp", guest.qmp_path, *args)
        assert events["running"]["qemu_pid"] == guest.pid
        yield taken, guest, events


def test_a_waiting_qemu_is_fed():
    for version in ("7.2", "10.0"):
        for taken, guest, _ in into_waiting(version):
            taken.expect_good(guest)


def test_a_waiting_qemu_is_fed_eagerly():
    for taken, guest, _ in into_waiting("10.0", "--eager"):
        taken.expect_good(guest)


def test_a_waiting_qemu_that_stands_still_is_fed():
    for taken, guest, _ in into_waiting("10.0", extra=["-S"]):
        assert guest.status() in ("paused", "prelaunch"), guest.status()
        guest.cont()
        taken.expect_good(guest)


def test_a_dry_run_leaves_a_waiting_qemu_as_it_was():
    taken = shared()
    guest = lab.Guest("10.0", dir=taken.guest.dir, start=False)
    guest.command = taken.guest.command + ["-incoming", "defer"]
    guest.launch()
    with guest:
        assert taken.restore("--qmp", guest.qmp_path, "--dry-run") == {}
        assert guest.status() == "inmigrate"
        assert guest.qmp("query-migrate") == {}
        taken.restore("--qmp", guest.qmp_path)
        taken.expect_good(guest)


def test_a_qemu_that_runs_is_refused():
    taken = shared()
    taken.restore()
    with taken.back() as guest:
        error = taken.refuse(21, "--qmp", guest.qmp_path)
        assert "still runs" in error["message"] or "wait" in error["message"]
        taken.expect_good(guest)


# Leaving early.


def test_detached_it_returns_while_pages_are_owed():
    taken = Taken(kernel_args="firn.mb=160", mem=320)
    begun = time.monotonic()
    events = taken.restore("--detach")
    assert set(events) == {"running"}, events
    assert time.monotonic() - begun < 5
    with taken.back() as guest:
        lab.wait_until(
            lambda: guest.qmp("query-migrate")["status"] == "completed", 30,
            "end of the migration")
        taken.expect_good(guest)
        lab.wait_until(lambda: taken.leases() == [], 10, "end of the lease")
    assert taken.runtime_files(".json") == []


def interrupted(number, status):
    taken = Taken(kernel_args="firn.mb=300", mem=512)
    run = taken.start()
    line = json.loads(run.stdout.readline())
    assert line["type"] == "running", line
    run.send_signal(number)
    out, err = run.communicate(timeout=20)
    assert run.returncode == status, (run.returncode, out, err)
    with taken.back() as guest:
        lab.wait_until(
            lambda: guest.qmp("query-migrate")["status"] == "completed", 30,
            "end of the migration")
        taken.expect_good(guest)


def test_an_interrupt_after_running_leaves_the_vm_running():
    interrupted(signal.SIGINT, 130)


def test_a_sigterm_after_running_leaves_the_vm_running():
    interrupted(signal.SIGTERM, 143)


def test_a_front_killed_after_running_leaves_the_vm_running():
    interrupted(signal.SIGKILL, -9)


def test_an_interrupt_before_running_ends_qemu():
    taken = shared()
    # A QEMU that opens its monitor late gives the time for it.
    script = lab.tmpdir() + "/slow"
    with open(script, "w") as f:
        f.write('#!/bin/sh\nsleep 30\nexec "$@"\n')
    os.chmod(script, 0o755)
    argv = ["--", script, *taken.guest.command]
    def runs():
        """As a program, not as firn's argument."""
        return any(lab._cmdline(p)[1:2] == [os.fsencode(script)]
                   for p in filter(str.isdigit, os.listdir("/proc")))

    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)) * 3:
        run = taken.start(*argv)
        lab.wait_until(runs, 10, "start")
        begun = time.monotonic()
        run.send_signal(number)
        out, err = run.communicate(timeout=20)
        assert run.returncode == status, (run.returncode, out, err)
        assert time.monotonic() - begun < 5
        assert taken.leases() == []
        assert taken.runtime_files("") == []
        assert not runs()


# Standing still.


def test_a_paused_snapshot_stands_still():
    for version, args in (("7.2", ()), ("10.0", ()), ("10.0", ("--eager",))):
        taken = Taken(version, paused=True)
        events = taken.restore(*args)
        assert "running" in events and "resident" in events, events
        with taken.back() as guest:
            assert guest.status() in ("paused", "prelaunch"), guest.status()
            assert guest.heartbeats(taken.mark) == []
            guest.cont()
            taken.expect_good(guest)


# What differs is named.


def differs(status, words, *replacements, machine_args=()):
    taken = shared()
    error = taken.refuse(status, *taken.command(*replacements,
                                                extra=machine_args))
    for word in words:
        assert word in error["message"], error
    assert not is_qemu_of(taken.guest)
    assert taken.leases() == []
    assert taken.runtime_files("") == []
    return taken, error


def test_another_machine_type_is_named():
    differs(21, ["machine type", "pc-q35", "pc-i440fx"], ("-machine", "q35"))


def test_another_version_of_the_machine_type_is_named():
    differs(21, ["machine type", "pc-i440fx-7.2", "pc-i440fx-10.0"],
            ("-machine", lab.COMMON_MACHINE))


def test_other_ram_is_named_and_nothing_was_lost_by_it():
    taken, error = differs(
        21, ["pc.ram", str(320 << 20), str(256 << 20)], ("-m", "320"))
    dry = taken.refuse(21, "--dry-run", *taken.command(("-m", "320")))
    assert dry["message"] == error["message"]
    taken.restore()
    with taken.back() as guest:
        taken.expect_good(guest)


def test_other_cpus_are_named():
    differs(21, ["number of CPUs is 2"], ("-smp", "2"))


def test_another_cpu_model_is_named():
    differs(21, ["CPU model", "max"], machine_args=["-cpu", "max"])


def test_an_extra_device_is_named():
    differs(21, ["1af4:1005"],
            machine_args=["-device", "virtio-rng-pci"])


def test_an_extra_vga_is_named():
    differs(21, ["vga.vram"], machine_args=["-vga", "std"])


def test_an_older_qemu_is_named():
    taken = Taken("10.0", machine=lab.COMMON_MACHINE)
    argv = lab.qemu("7.2") + taken.guest.command[len(lab.qemu("10.0")):]
    error = taken.refuse(21, "--", *argv)
    assert "QEMU is 7.2, older" in error["message"], error


def test_the_original_that_still_runs_is_named():
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    lab.firn("init", repo)
    with lab.Guest("10.0", name="vm", kernel_args=KERNEL) as guest:
        guest.wait_heartbeat(1)
        lab.firn("--repo", repo, "snapshot", "--qmp", guest.qmp_path)
        done = lab.firn("--repo", repo, "--json", "restore", "latest",
                        check=False)
        assert done.returncode == 21, done
        assert "still runs" in done.stdout + done.stderr, done
        guest.heartbeat_advances()


def test_a_disk_written_since_is_named():
    image = lab.tmpdir() + "/disk.raw"
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    taken = Taken(extra=["-drive", f"file={image},format=raw,if=virtio"])
    with open(image, "r+b") as f:
        f.write(b"later")
    error = taken.refuse(21)
    assert image in error["message"] and "written" in error["message"], error
    assert "--disks-changed-ok" in error["hint"]
    taken.restore("--disks-changed-ok")
    with taken.back() as guest:
        taken.expect_good(guest)


def test_a_qemu_that_cannot_start_is_quoted():
    taken = shared()
    error = taken.refuse(20, *taken.command(extra=["-no-such-option"]))
    assert "no-such-option" in error["message"], error
    error = taken.refuse(20, "--", "/no/such/qemu")
    assert "/no/such/qemu" in error["message"], error
    assert taken.leases() == []


def test_a_qemu_without_userfaultfd_is_told_what_would_help():
    taken = shared("7.2")
    with open("/proc/sys/vm/unprivileged_userfaultfd") as f:
        if f.read().strip() != "0" or not shutil.which("setpriv"):
            raise lab.Skip("userfaultfd is free for all, or no setpriv")
    without = ["setpriv", "--bounding-set", "-sys_ptrace",
               "--inh-caps", "-sys_ptrace", *taken.guest.command]
    error = taken.refuse(1, "--", *without)
    assert error["code"] == "unsupported", error
    assert "ostcopy" in error["message"] and "userfaultfd" in error["message"]
    assert "vm.unprivileged_userfaultfd=1" in error["hint"], error
    assert "--eager" in error["hint"], error
    taken.restore("--eager", "--", *without)
    with taken.back() as guest:
        taken.expect_good(guest)


def test_memory_in_a_file_on_a_disk_is_refused():
    taken = shared("7.2")
    folder = "/var/tmp"
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder],
                          capture_output=True, text=True).stdout.strip()
    if kind in ("tmpfs", "ramfs"):
        raise lab.Skip(f"{folder} is no disk")
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        error = taken.refuse(1, *taken.command(
            ("-machine", "pc,memory-backend=pc.ram"),
            extra=["-object", "memory-backend-file,id=pc.ram,size=256M,"
                              f"share=on,mem-path={file.name}"]))
        assert file.name in error["message"], error
        assert "--eager" in error["hint"], error


def test_a_dry_run_changes_nothing():
    taken = shared()
    done = lab.firn("--repo", taken.repo, "restore", taken.id, "--dry-run",
                    env=taken.env)
    assert "fits" in done.stderr, done
    assert not is_qemu_of(taken.guest)
    assert taken.runtime_files("") == []
    assert taken.leases() == []


# Damage.


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 0x10]))


def test_a_damaged_snapshot_object_is_refused_before_qemu_starts():
    taken = shared()
    path = f"{taken.repo}/snapshots/{taken.id}"
    os.chmod(path, 0o600)
    flip(path, os.path.getsize(path) // 2)
    error = taken.refuse(13)
    assert error["code"] == "damaged", error
    assert not is_qemu_of(taken.guest)


def damaged_pack(taken):
    """A frame in the middle of the largest pack; its path."""
    path = pack_paths(taken.repo)[0]
    os.chmod(path, 0o600)
    flip(path, os.path.getsize(path) // 2)
    return path


def test_damage_kills_the_vm_when_it_is_asked_for():
    taken = shared()
    # No page of it can be read, and the guest touches all its memory.
    pack = pack_paths(taken.repo)[0]
    os.rename(pack, pack + ".away")
    error = taken.refuse(13, "--on-error", "kill")
    assert os.path.basename(pack) in error["message"], error
    lab.wait_until(lambda: not is_qemu_of(taken.guest), 10, "end of QEMU")
    assert taken.leases() == []


def test_damage_refuses_an_eager_restore():
    taken = shared()
    pack = damaged_pack(taken)
    error = taken.refuse(13, "--eager")
    assert os.path.basename(pack) in error["message"], error
    assert not is_qemu_of(taken.guest)
    assert taken.guest.heartbeats(taken.mark) == []


def test_damage_leaves_the_rest_of_the_vm_alone():
    taken = shared()
    pack = damaged_pack(taken)
    error = taken.refuse(13)
    assert os.path.basename(pack) in error["message"], error
    assert is_qemu_of(taken.guest)
    # It stands where it needs the page, or runs on; it was never shown a
    # wrong one, and the pager stays for the zero pages.
    assert taken.guest.bad_lines(taken.mark) == []
    assert pager_of(taken.id)
    guest = lab.Guest.attach(taken.guest.dir)
    guest.kill()
    lab.wait_until(lambda: not pagers_of(taken.id), 10, "end of the pager")
    lab.wait_until(lambda: taken.leases() == [], 10, "end of the lease")


# Processes that die.


def test_a_pager_without_its_keeper_brings_the_vm_home():
    taken = Taken(kernel_args="firn.mb=300", mem=512)
    run = taken.start()
    line = json.loads(run.stdout.readline())
    assert line["type"] == "running", line
    with open(f"/proc/{pager_of(taken.id)}/stat") as f:
        keeper = int(f.read().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    run.communicate(timeout=20)
    assert run.returncode == 1, run.returncode
    with taken.back() as guest:
        lab.wait_until(
            lambda: guest.qmp("query-migrate")["status"] == "completed", 60,
            "end of the migration")
        taken.expect_good(guest)
        # Its packs are still in use, as long as it lives.
        assert len(taken.leases()) == 1
    lab.firn("--repo", taken.repo, "list")
    assert taken.leases() == []


def pager_killed(version, times):
    taken = Taken(version, kernel_args="firn.mb=400", mem=640)
    run = taken.start()
    line = json.loads(run.stdout.readline())
    assert line["type"] == "running", line
    killed = set()
    for _ in range(times):
        pid = pager_of(taken.id)
        if pid in killed:
            time.sleep(0.01)
            continue
        killed.add(pid)
        os.kill(pid, signal.SIGKILL)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, (run.returncode, out, err)
    assert json.loads(out.splitlines()[-1])["type"] == "resident", out
    assert killed
    with taken.back() as guest:
        taken.expect_good(guest)
    return len(killed)


def qemu_counts_too(version):
    """Its figures beside ours, in the events and in `show`."""
    taken = shared(version)
    told = taken.restore("--blocktime", "--head-start", "0")["resident"]
    with taken.back() as guest:
        taken.expect_good(guest)
        asked = guest.qmp("query-migrate")
    qemu = told["qemu"]
    assert qemu == {k: v for k, v in asked.items()
                    if k.startswith("postcopy-")}, (qemu, asked)
    assert len(qemu["postcopy-vcpu-blocktime"]) == 1, qemu
    # One vCPU: it waited, and all vCPUs did so together.
    waited = qemu["postcopy-vcpu-blocktime"][0]
    assert 0 < qemu["postcopy-blocktime"] <= waited, qemu
    show = ("--repo", taken.repo, "show", taken.id)
    kept = lab.firn_json("--json", *show)[0]["last_restore"]
    assert kept["qemu"] == qemu, kept
    line = lab.firn(*show).stdout
    assert f"QEMU counted: all vCPUs waited {qemu['postcopy-blocktime']} ms" \
        in line, line


def test_qemu_counts_too_when_it_is_asked_to():
    for version in ("7.2", "10.0"):
        qemu_counts_too(version)
    taken = shared()
    assert "qemu" not in taken.restore()["resident"]
    taken.back().__enter__().kill()


def test_a_pager_killed_is_replaced_on_10_0():
    pager_killed("10.0", 1)


def test_a_pager_killed_is_replaced_on_7_2():
    pager_killed("7.2", 1)


def test_a_pager_killed_again_and_again_is_replaced():
    for version in ("10.0", "7.2"):
        pager_killed(version, 4)


lab.main(globals())
