#!/usr/bin/env python3
"""Captures of real QEMUs: what is stored is what the guest had, the guest goes
on as it was found whatever happens to firn, and the repository stays clean.

    test_capture.py [test_...]
"""
import contextlib
import ctypes
import hashlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402

READER = os.path.join(lab.ROOT, "tests/golden/read_repository.py")
MEM = 160
BUSY = "firn.mb=48 firn.hot=2"
DEFAULTS = {"max-bandwidth": 134217728, "downtime-limit": 300}


def new_repository(folder=None):
    repo = os.path.join(folder or lab.tmpdir("firn-repo-"), "r")
    lab.firn("init", repo)
    return repo


shared = None  # the guest of the test before, if it may be used again


@contextlib.contextmanager
def guest(version, **kwargs):
    """A running guest, that of the test before if it was the same and came
    out well: booting is most of a test's time. One at a time."""
    global shared
    vm, shared = shared, None
    if vm and (kwargs or vm.version != version or not vm.alive()):
        vm.kill()
        vm = None
    if not vm:
        vm = lab.Guest(version, mem=MEM, **{"kernel_args": BUSY, "name": "vm",
                                            **kwargs})
    with contextlib.ExitStack() as stack:
        stack.push(vm)
        if not kwargs.get("paused"):
            vm.heartbeat_advances()
        yield vm
        if not kwargs and vm.alive() and vm.status() == "running":
            stack.pop_all()
            shared = vm


def words(repo, vm, *more):
    return ("--repo", repo, "snapshot", "--qmp", vm.qmp_path, *more)


def snapshot(repo, vm, *more):
    """The object that `snapshot` prints. A pause over budget (3) is what a
    busy machine gives."""
    done = lab.firn("--json", *words(repo, vm, *more), check=False)
    assert done.returncode in (0, 3), (done.returncode, done.stdout,
                                       done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def refused(status, *argv, timeout=60):
    """Runs firn, which must fail so; returns the error object."""
    done = lab.firn("--json", *argv, check=False, timeout=timeout)
    assert done.returncode == status, (done.returncode, done.stdout,
                                       done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[-1] if lines else None


def listed(repo):
    return lab.firn_json("--repo", repo, "--json", "list")


def files_of(repo):
    return {os.path.relpath(os.path.join(folder, name), repo)
            for folder, _, names in os.walk(repo) for name in names
            if not name.startswith("catalog.db")
            and os.path.basename(folder) != "checks"}


def assert_clean(repo, snapshots):
    """So many snapshots, no error, and no file that nobody knows."""
    report = lab.firn_json("--repo", repo, "--json", "check")[-1]
    assert report["errors"] == 0, report
    assert report["snapshots"] == snapshots, report
    assert report["unreferenced_packs"] == 0, report
    known = {"config"} | {kind + s["id"] for s in listed(repo)
                          for kind in ("snapshots/", "hints/")}
    strays = {name for name in files_of(repo) - known
              if not name.startswith(("packs/", "checks/"))}
    assert not strays, strays


def settings(vm):
    on = [c["capability"] for c in vm.qmp("query-migrate-capabilities")
          if c["state"]]
    parameters = vm.qmp("query-migrate-parameters")
    return on, {key: parameters[key] for key in DEFAULTS}


def assert_as_before(vm):
    """It runs on, its memory is right, and QEMU is set as it was."""
    assert vm.status() == "running"
    vm.heartbeat_advances()
    vm.assert_good()
    assert settings(vm) == ([], DEFAULTS), settings(vm)


def assert_stands_still(vm, *states):
    assert vm.status() in states, vm.status()
    size = vm.serial_size()
    time.sleep(0.3)
    assert vm.serial_size() == size, "the guest runs"


def await_end_of_migration(vm):
    lab.wait_until(
        lambda: vm.qmp("query-migrate").get("status", "none") in (
            "none", "completed", "failed", "cancelled")
        and vm.status() != "finish-migrate", 60, "end of the migration")


def memory_of(vm):
    """SHA-256 of the main memory of a VM that stands still."""
    path = os.path.join(vm.dir, "memory")
    vm.qmp("pmemsave", val=0, size=MEM << 20, filename=path)
    return hash_file(path)


def hash_file(path):
    with open(path, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    os.unlink(path)
    return digest


def stored_memory(repo, snap):
    path = os.path.join(lab.tmpdir("firn-raw-"), "pc.ram")
    subprocess.run([sys.executable, READER, repo, snap, "pc.ram", path],
                   check=True, timeout=120)
    return hash_file(path)


# What is stored.


def check_running(version, mode):
    repo = new_repository()
    with guest(version) as vm:
        told = snapshot(repo, vm, "--tag", "by=test")
        assert told["mode"] == mode, told
        assert told["run_state"] == "running", told
        assert told["vm"] == "vm" and told["tags"] == {"by": "test"}, told
        assert told["pages"]["unseen"] == 0, told
        assert told["qemu_version"].startswith(version), told
        again = snapshot(repo, vm, "--verify")
        assert again["pages"]["stored"] < told["pages"]["stored"] / 4, again
        assert_as_before(vm)
    assert_clean(repo, 2)


def test_running_vm_of_10_0_is_streamed():
    check_running("10.0", "stream")


def test_running_vm_of_7_2_under_tcg_is_saved_in_background():
    check_running("7.2", "background")


def test_running_vm_of_10_0_is_saved_in_background_when_asked():
    repo = new_repository()
    with guest("10.0") as vm:
        assert snapshot(repo, vm, "--mode", "background")["mode"] == (
            "background")
        assert_as_before(vm)
    assert_clean(repo, 1)


def check_idle(version, mode):
    """What a VM that does nothing costs each time: its few new pages, and a
    snapshot object of which most compresses."""
    repo = new_repository()
    sizes = [0]
    with lab.Guest(version, mem=1024, name="vm") as vm:
        vm.heartbeat_advances()
        vm.idle()
        for _ in range(4):
            told = snapshot(repo, vm, "--mode", mode)
            sizes.append(sum(os.path.getsize(f"{repo}/{name}")
                             for name in files_of(repo)))
        assert_as_before(vm)
    with open(f"{repo}/snapshots/{told['id']}", "rb") as f:
        data = f.read()
    magic, version, raw = struct.unpack("<8sII", data[-64:-48])
    assert (magic, version) == (b"FIRNSNAP", 2), (magic, version)
    assert raw > 100000 > 32768 > len(data), (raw, len(data))
    costs = [b - a for a, b in zip(sizes, sizes[1:])]
    print(f"  costs {costs}, of which the object {len(data)}", flush=True)
    assert max(costs[2:]) < 100000, costs
    assert_clean(repo, 4)


def test_idle_vm_of_10_0_costs_little():
    check_idle("10.0", "stream")


def test_idle_vm_of_7_2_costs_little():
    check_idle("7.2", "background")


def check_hints(version):
    """The pages that the guest writes without a pause are its first hints, and
    a restore brings them first."""
    repo = new_repository()
    with guest(version) as vm:
        told = snapshot(repo, vm, "--mode", "background")
        assert_as_before(vm)
        with open(f"{repo}/hints/{told['id']}", "rb") as f:
            magic, _, runs, n = struct.unpack("<8sIIQ", f.read(24))
        assert (magic, runs) == (b"FIRNHINT", 0), (magic, runs)
        # The hot set has 512 pages, those that are the scan's next left out.
        assert 50 < n < 16384, n
        print(f"  {n} pages were written first", flush=True)
    assert_clean(repo, 1)


def test_pages_written_first_behind_a_save_of_7_2_are_hints():
    check_hints("7.2")


def test_pages_written_first_behind_a_save_of_10_0_are_hints():
    check_hints("10.0")


def check_paused(version, mode, *after):
    """What is stored is the memory of the VM, byte for byte."""
    repo = new_repository()
    with guest(version) as vm:
        vm.stop()
        told = snapshot(repo, vm, "--mode", mode)
        assert told["run_state"] == "paused" and told["downtime_ms"] == 0, told
        assert_stands_still(vm, *after)
        assert settings(vm) == ([], DEFAULTS), settings(vm)
        assert stored_memory(repo, told["id"]) == memory_of(vm)
        vm.cont()
        assert_as_before(vm)
    assert_clean(repo, 1)


def test_paused_vm_of_10_0_is_stored_whole_and_stays_paused():
    check_paused("10.0", "auto", "paused")


def test_paused_vm_of_10_0_is_stored_whole_in_background():
    check_paused("10.0", "background", "paused")


def test_paused_vm_of_7_2_is_stored_whole_and_stands_still():
    check_paused("7.2", "auto", "postmigrate")


def test_without_compression_pages_are_stored_as_they_are():
    repo = new_repository()
    with guest("10.0") as vm:
        vm.stop()
        told = snapshot(repo, vm, "--compression", "none")
        assert stored_memory(repo, told["id"]) == memory_of(vm)
        stored = sum(os.path.getsize(f"{repo}/{name}")
                     for name in files_of(repo) if name.startswith("packs/"))
        assert stored > told["pages"]["stored"] * 4096 > 0, (stored, told)
        vm.cont()
        assert_as_before(vm)
    assert_clean(repo, 1)


def test_facts_of_the_vm_are_recorded():
    repo = new_repository()
    disk = os.path.join(lab.tmpdir("firn-disk-"), "disk.raw")
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    uuid = "6f1c1d4e-5a0b-4c57-9d7e-0a3c8f0b1a2d"
    with guest("10.0", uuid=uuid, extra=[
            "-drive", f"file={disk},format=raw,if=none,id=d0",
            "-device", "virtio-blk,drive=d0"]) as vm:
        told = snapshot(repo, vm)
        assert told["vm_uuid"] == uuid, told
        shown = lab.firn_json("--repo", repo, "--json", "show", told["id"])[-1]
    text = json.dumps(shown)
    stat = os.stat(disk)
    assert disk in text and str(stat.st_mtime_ns) in text, text
    assert vm.command[0] in text, text


# What is refused before anything is touched.


def test_stream_of_a_running_7_2_under_tcg_is_refused():
    repo = new_repository()
    with guest("7.2") as vm:
        error = refused(1, *words(repo, vm, "--mode", "stream"))
        assert "silently wrong" in error["message"], error
        assert "background" in error["hint"], error
        assert_as_before(vm)
    assert_clean(repo, 0)


def test_background_of_a_paused_7_2_is_refused():
    repo = new_repository()
    with guest("7.2", paused=True) as vm:
        error = refused(1, *words(repo, vm, "--mode", "background"))
        assert "would start" in error["message"], error
        assert_stands_still(vm, "prelaunch")


def test_vm_without_a_name_needs_one():
    repo = new_repository()
    with guest("10.0", paused=True, name=None) as vm:
        assert "--name" in refused(2, *words(repo, vm))["hint"]
        assert snapshot(repo, vm, "--name", "given")["vm"] == "given"


def test_options_that_make_no_sense_are_usage_errors():
    repo = new_repository()
    for more in (["--channels", "x"], ["--max-downtime", "0"],
                 ["--compression", "99"], ["--mode", "shared"], ["stray"]):
        refused(2, "--repo", repo, "snapshot", "--qmp", "/x", *more)
    refused(2, "--repo", repo, "snapshot")


# Sockets that are no help.


def test_wrong_path_is_not_reachable():
    repo = new_repository()
    error = refused(20, "--repo", repo, "snapshot", "--qmp", "/nowhere/qmp",
                    timeout=10)
    assert error["code"] == "vm_unreachable", error
    assert "/nowhere/qmp" in error["message"], error


def test_socket_held_by_another_client_is_told():
    repo = new_repository()
    with guest("10.0", paused=True) as vm, lab.Qmp(vm.qmp_path):
        error = refused(20, *words(repo, vm), timeout=20)
        assert "another client" in error["hint"], error


@contextlib.contextmanager
def server(answer):
    """A socket where each client is answered so, and let go if it is b""."""
    path = os.path.join(lab.tmpdir("firn-fake-"), "qmp")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()

        def serve():
            with contextlib.suppress(OSError):
                client, _ = s.accept()
                with client:
                    client.sendall(answer)
                    while answer and client.recv(4096):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        s.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_socket_that_closes_or_talks_otherwise_is_told():
    repo = new_repository()
    for answer, piece in ((b"", "closed"),
                          (b"SSH-2.0-OpenSSH_9.2p1\r\n", "does not speak QMP")):
        with server(answer) as path:
            error = refused(20, "--repo", repo, "snapshot", "--qmp", path,
                            timeout=10)
            assert piece in error["message"], error


# Captures that end early.


def check_timeout(version, *more, paused=False, after="running"):
    repo = new_repository()
    with guest(version) as vm:
        if paused:
            vm.stop()
        error = refused(23, *words(repo, vm, "--timeout", "200ms", *more))
        assert error["code"] == "timeout", error
        if paused:
            assert_stands_still(vm, after)
            vm.cont()
        assert_as_before(vm)
        assert_clean(repo, 0)
        assert snapshot(repo, vm)["pages"]["unseen"] == 0
    assert_clean(repo, 1)


def test_time_limit_leaves_a_running_10_0_running():
    check_timeout("10.0", "--max-bandwidth", "1M")


def test_time_limit_leaves_a_paused_10_0_paused():
    check_timeout("10.0", "--max-bandwidth", "1M", paused=True, after="paused")


def test_time_limit_leaves_a_paused_7_2_paused():
    check_timeout("7.2", "--max-bandwidth", "1M", paused=True, after="paused")


def test_time_limit_leaves_a_background_save_of_7_2_to_its_end():
    check_timeout("7.2")


def test_pause_over_budget_is_complete_and_told():
    repo = new_repository()
    with guest("10.0") as vm:
        vm.idle()
        told = refused(3, *words(repo, vm, "--max-downtime", "1ms"))
        assert told["type"] == "snapshot" and told["downtime_ms"] > 1, told
        vm.busy()
        assert_as_before(vm)
    assert_clean(repo, 1)


# Guests that write faster than they are read.

HOT = "firn.mb=16 firn.hot=4 firn.rate=0 firn.verify=0"
SLOW = ("--max-bandwidth", "24M", "--max-downtime", "100ms")


def test_stream_that_does_not_converge_is_given_up_before_the_switchover():
    repo = new_repository()
    with guest("10.0", kernel_args=HOT) as vm:
        vm.monitor.poll_events().clear()
        error = refused(22, *words(repo, vm, "--mode", "stream", *SLOW))
        assert error["code"] == "downtime_budget", error
        assert "--auto-converge" in error["hint"], error
        assert "STOP" not in [e["event"] for e in vm.monitor.poll_events()]
        assert_as_before(vm)
    assert_clean(repo, 0)


def test_auto_takes_background_for_what_does_not_converge():
    repo = new_repository()
    with guest("10.0", kernel_args=HOT) as vm:
        told = snapshot(repo, vm, *SLOW)
        assert told["mode"] == "background", told
        assert "did not converge" in told["mode_reason"], told
        assert_as_before(vm)
    assert_clean(repo, 1)


def test_auto_converge_slows_the_guest_until_it_fits():
    repo = new_repository()
    with guest("10.0", kernel_args="firn.mb=16 firn.hot=0 firn.rate=6000"
               " firn.verify=0") as vm:
        slow = ("--mode", "stream", "--max-bandwidth", "16M", "--max-downtime",
                "100ms")
        refused(22, *words(repo, vm, *slow))
        told = snapshot(repo, vm, "--auto-converge", *slow)
        assert told["capture"]["throttle_percent"] >= 20, told
        assert_as_before(vm)
    assert_clean(repo, 1)


def test_rounds_and_downtimes_are_told_and_kept():
    repo = new_repository()
    with guest("10.0") as vm:
        told = snapshot(repo, vm)
        shown = lab.firn_json("--repo", repo, "--json", "show", told["id"])[-1]
    capture = told["capture"]
    assert capture == shown["facts"]["capture"], (told, shown)
    assert capture["downtime_limit_ms"] in (30, 150), capture
    assert capture["expected_downtime_ms"] > 0, capture
    assert sum(r["bytes"] for r in capture["rounds"]) > 20 << 20, capture
    assert "slows the guest least" in told["mode_reason"], told


# Foretelling.


def plan(repo, vm, *more):
    return lab.firn_json("--repo", repo, "--json", "plan", "--qmp",
                         vm.qmp_path, *more)[-1]


def assert_near(foretold, seen, factor, slack):
    assert foretold <= seen * factor + slack, (foretold, seen)
    assert seen <= foretold * factor + slack, (foretold, seen)


def check_plan(version, mode):
    """Within three times for bytes, four times (and a second: others are at
    work on this machine) for time; the factors are those of the manual."""
    repo = new_repository()
    with guest(version) as vm:
        for basis in ("measured", "history", "history"):
            foretold = plan(repo, vm)
            told = snapshot(repo, vm)
            assert foretold["basis"] == basis, foretold
            assert foretold["mode"] == told["mode"] == mode, foretold
            assert foretold["blockers"] == 0, foretold
            assert foretold["downtime_ms"] <= 300, foretold
            assert foretold["dirty_bytes_per_s"] > 0, foretold
            assert_near(foretold["stored_bytes"], told["stored_bytes"], 3,
                        1 << 20)
            assert_near(foretold["duration_ms"], told["duration_ms"], 4, 1000)
        assert_as_before(vm)
    assert_clean(repo, 3)


def test_plan_foretells_a_stream_of_10_0():
    check_plan("10.0", "stream")


def test_plan_foretells_a_background_save_of_7_2():
    check_plan("7.2", "background")


def test_plan_names_what_is_in_the_way():
    repo = new_repository()
    with guest("10.0", uuid=None, name=None, paused=True, extra=[
            "-device", "qemu-xhci,id=usb", "-object", "rng-builtin,id=r0",
            "-device", "ivshmem-plain,memdev=shm,master=off", "-object",
            "memory-backend-memfd,id=shm,size=1M,share=on"]) as vm:
        done = lab.firn("--repo", repo, "--json", "plan", "--qmp", vm.qmp_path,
                        check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode in (1, 2), done
    blockers = [b for b in lines if b["type"] == "blocker"]
    assert [b for b in blockers if "ivshmem" in b["message"]], lines
    assert [b for b in blockers if "--name" in b["hint"]], lines
    assert lines[-1]["type"] == "plan", lines
    assert lines[-1]["blockers"] == len(blockers) >= 2, lines


def check_signal(version, number, status):
    repo = new_repository()
    with guest(version) as vm:
        process = lab.firn_start(
            *words(repo, vm, "--max-bandwidth", "4M"))
        lab.wait_until(lambda: vm.qmp("query-migrate").get("status")
                       == "active", 20, "active migration")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == status, (process.returncode, errors)
        assert_as_before(vm)
    assert_clean(repo, 0)


def test_sigint_ends_a_stream():
    check_signal("10.0", signal.SIGINT, 130)


def test_sigterm_ends_a_background_save_of_7_2():
    check_signal("7.2", signal.SIGTERM, 143)


def test_second_sigint_leaves_7_2_at_once():
    """7.2 would be waited for; QEMU ends its save by itself."""
    repo = new_repository()
    with guest("7.2") as vm:
        process = lab.firn_start(*words(repo, vm))
        lab.wait_until(lambda: vm.qmp("query-migrate").get("status")
                       == "active", 20, "active migration")
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.005)
        assert process.returncode in (130, -signal.SIGINT)
        await_end_of_migration(vm)
        snapshot(repo, vm)
        assert_as_before(vm)
    assert_clean(repo, 1)


def check_kills(version, kills, paused=False):
    """kill -9 at random moments; the next capture works, and cleans up."""
    repo = new_repository()
    seed = random.randrange(1 << 30)
    print(f"  seed {seed}", flush=True)
    moments = random.Random(seed)
    done = 0
    with guest(version) as vm:
        for _ in range(kills):
            if paused:
                vm.stop()
            process = lab.firn_start("-q", *words(repo, vm))
            time.sleep(moments.uniform(0.01, 0.6))
            process.kill()
            process.communicate(timeout=20)
            done += process.returncode in (0, 3)
            await_end_of_migration(vm)
            if paused:
                assert_stands_still(vm, "paused", "postmigrate")
                vm.cont()
            lab.wait_until(lambda: vm.status() == "running", 10, "running VM")
            vm.heartbeat_advances()
        snapshot(repo, vm)
        assert_as_before(vm)
        assert len(listed(repo)) >= done + 1
    assert_clean(repo, len(listed(repo)))


def test_kill_9_leaves_a_running_10_0_running():
    check_kills("10.0", 5)


def test_kill_9_leaves_a_running_7_2_running():
    check_kills("7.2", 4)


def test_kill_9_leaves_a_paused_10_0_standing_still():
    check_kills("10.0", 3, paused=True)


def test_kill_9_leaves_a_paused_7_2_standing_still():
    check_kills("7.2", 3, paused=True)


def test_qemu_that_is_killed_is_told_as_gone():
    repo = new_repository()
    with guest("10.0") as vm:
        process = lab.firn_start(
            "--json", *words(repo, vm, "--max-bandwidth", "4M"))
        lab.wait_until(lambda: vm.qmp("query-migrate").get("status")
                       == "active", 20, "active migration")
        vm.kill()
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 20, (process.returncode, out)
        assert json.loads(out.splitlines()[-1])["code"] == "vm_unreachable"
    assert_clean(repo, 0)


# A full disk.


@contextlib.contextmanager
def small_disk(size):
    folder = lab.tmpdir("firn-small-")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}",
                           "none", folder], capture_output=True, text=True)
    if done.returncode != 0:
        raise lab.Skip(f"no tmpfs may be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def greedy_neighbour(folder):
    """Somebody else on that disk: once it is nearly full (the spool has its
    room) he takes all that is free, and all that the spool gives back, before
    the packs get it."""
    over = threading.Event()
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR)

    def take():
        full, size, last = False, 0, None
        while not over.is_set():
            st = os.statvfs(folder)
            free = st.f_bavail * st.f_frsize
            if not full:
                # Reserving takes a while: it is over when nothing moves.
                full = free < 20 << 20 and free == last
                last = free
                time.sleep(0.005)
                continue
            if free == 0:
                time.sleep(0.0001)
                continue
            with contextlib.suppress(OSError):
                os.posix_fallocate(fd, size, free)
                size += free

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        os.close(fd)


def check_full_disk(version, size, beforehand=False, neighbour=False):
    with small_disk(size) as folder, guest(version) as vm:
        repo = new_repository(folder)
        before = files_of(repo)
        with contextlib.ExitStack() as stack:
            if neighbour:
                stack.enter_context(greedy_neighbour(folder))
            error = refused(15, *words(repo, vm))
        assert error["code"] == "no_space", error
        assert "use a larger one" in error["hint"], error
        assert ("mode background needs" in error["message"]) == beforehand
        assert files_of(repo) == before, files_of(repo)
        assert_as_before(vm)
        assert_clean(repo, 0)


def test_reserve_ends_a_stream_before_the_disk_is_full():
    with small_disk("160m") as folder, guest("10.0") as vm:
        repo = new_repository(folder)
        first = snapshot(repo, vm, "--reserve", "0")
        before = files_of(repo)
        st = os.statvfs(folder)
        reserve = st.f_bavail * st.f_frsize - (4 << 20)
        narrow = words(repo, vm, "--reserve", str(reserve), "--name", "other")
        done = lab.firn(*narrow, check=False)
        assert done.returncode == 15, done
        assert "there may be too little room" in done.stderr, done
        error = refused(15, *narrow)
        assert error["code"] == "no_space", error
        assert "kept in reserve" in error["message"], error
        assert "firn forget --vm vm " in error["hint"], error
        assert "in 1 snapshot)" in error["hint"], error
        assert files_of(repo) == before, files_of(repo)
        assert [s["id"] for s in listed(repo)] == [first["id"]]
        assert_as_before(vm)
        assert_clean(repo, 1)


def test_vm_is_not_touched_when_the_disk_is_nearly_full():
    with small_disk("32m") as folder, guest("10.0") as vm:
        vm.monitor.poll_events().clear()
        repo = new_repository(folder)
        error = refused(15, *words(repo, vm, "--reserve", "32M"))
        assert "nearly full" in error["message"], error
        assert "MIGRATION" not in {
            e["event"] for e in vm.monitor.poll_events()}
        assert_as_before(vm)


def refuse_io_uring():
    """In a child, before exec: io_uring_setup (425) gives EPERM, as seccomp in
    a container has it."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = b"".join(struct.pack("<HBBI", *step) for step in (
        (0x20, 0, 0, 0),            # the number of the call
        (0x15, 0, 1, 425),
        (0x06, 0, 0, 0x00050001),   # EPERM
        (0x06, 0, 0, 0x7FFF0000)))  # allowed
    code = ctypes.create_string_buffer(program)

    class Filter(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    rules = Filter(4, ctypes.addressof(code))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(rules)):
        raise OSError(ctypes.get_errno(), "seccomp")


def test_io_uring_refused_is_told_and_done_without():
    repo = new_repository()
    with guest("10.0") as vm:
        done = lab.firn("--repo", repo, "snapshot", "--qmp", vm.qmp_path,
                        preexec_fn=refuse_io_uring)
        assert "without io_uring" in done.stderr, done.stderr
        told = lab.firn("--repo", repo, "snapshot", "--qmp", vm.qmp_path)
        assert "without io_uring" not in told.stderr, told.stderr
    report = lab.firn_json("--repo", repo, "--json", "check", "--read-data")
    assert report[-1]["errors"] == 0, report


def test_full_disk_ends_a_stream():
    check_full_disk("10.0", "8m")


def test_disk_too_small_for_a_save_of_7_2_is_told_beforehand():
    check_full_disk("7.2", "64m", beforehand=True)


def test_disk_that_fills_up_during_a_save_of_7_2():
    """There is room for the spool, and then none for the packs."""
    check_full_disk("7.2", "206m", neighbour=True)


if __name__ == "__main__":
    # Those that name 7.2 last: fewer guests are booted.
    lab.main(dict(sorted(globals().items(), key=lambda i: "7_2" in i[0])))
