#!/usr/bin/env python3
"""What firn promises of capture and lazy restore, shown at length on real
QEMUs: `soak_first_light.py [test_...]`. FIRN_SOAK_ROUNDS and FIRN_SOAK_KILLS
make it shorter. Each test prints the figures it asserts.
"""
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402

ROUNDS = int(os.environ.get("FIRN_SOAK_ROUNDS", "10"))
KILLS = int(os.environ.get("FIRN_SOAK_KILLS", "20"))


def say(text):
    print("  " + text, flush=True)


def new_repository():
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    lab.firn("init", repo)
    return repo


def snapshot(repo, guest, *args, **kwargs):
    """The `snapshot` object of a capture."""
    return lab.firn_json("--repo", repo, "--json", "snapshot", "--qmp",
                         guest.qmp_path, "--name", "soak", *args,
                         **kwargs)[-1]


def restore(repo, snap, *args, **kwargs):
    """The `running` and `resident` objects of a restore."""
    lines = lab.firn_json("--repo", repo, "--json", "restore", snap, *args,
                          **kwargs)
    found = {line["type"]: line for line in lines}
    return found["running"], found["resident"]


def files_of(repo):
    """Every file of the repository but the cache, as names below it."""
    found = set()
    for folder, _, names in os.walk(repo):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), repo)
            if not path.startswith(("catalog.db", "checks/")):
                found.add(path)
    return found


def expect_clean(repo):
    """`check` finds nothing wrong, and each file is one that is accounted
    for: the config, a snapshot that is listed, a pack that one refers to."""
    report = lab.firn_json("--repo", repo, "--json", "check")[-1]
    assert report["type"] == "check" and report["errors"] == 0, report
    known = {"config"}
    for line in lab.firn_json("--repo", repo, "--json", "list"):
        known.add(f"snapshots/{line['id']}")
        shown = lab.firn_json("--repo", repo, "--json", "show", line["id"])[0]
        known |= {f"packs/{p['id'][:2]}/{p['id']}" for p in shown["packs"]}
    stray = files_of(repo) - known
    assert not stray, stray


def ten_times(version, target=None, machine="pc"):
    """Captured live, killed, brought back lazily, verified by the guest."""
    repo = new_repository()
    modes = set()
    for turn in range(ROUNDS):
        with lab.Guest(version, mem=768, machine=machine, name="soak",
                       kernel_args="firn.mb=560 firn.rate=3000") as guest:
            guest.wait_heartbeat(5)
            taken = snapshot(repo, guest)
            modes.add(taken["mode"])
            guest.heartbeat_advances()
            assert guest.status() == "running"
            guest.kill()
            mark = guest.serial_size()
            again = []
            if target:
                argv = lab.qemu(target) + guest.command[
                    len(lab.qemu(version)):]
                again = ["--", *argv]
            running, resident = restore(repo, taken["id"], *again)
            back = lab.Guest.attach(guest.dir)
            try:
                back.wait_heartbeat(1, since=mark)
                good = back.assert_good()
                migrated = back.qmp("query-migrate")
                assert migrated["status"] == "completed", migrated
            finally:
                back.kill()
            say(f"{turn + 1}: {taken['mode']} rounds={taken['rounds']}"
                f" downtime={taken['downtime_ms']} ms"
                f" took={taken['duration_ms']} ms; running after"
                f" {running['elapsed_ms']} ms with"
                f" {running['read_bytes'] / running['image_bytes']:.1%} read,"
                f" resident after {resident['elapsed_ms']} ms,"
                f" {resident['faults']} faults p50="
                f"{resident['fault_p50_us']} us;"
                f" pages={good['pages']} bad={good['bad']}")
    return modes


def test_ten_live_captures_on_10_0_come_back():
    assert ten_times("10.0") == {"stream"}


def test_ten_live_captures_on_7_2_come_back():
    assert ten_times("7.2") == {"background"}


def test_7_2_comes_back_in_10_0():
    ten_times("7.2", target="10.0", machine=lab.COMMON_MACHINE)


def capture_for_timing(mem, mb):
    """A guest of that size, captured and killed: (repository, id, its
    directory)."""
    repo = new_repository()
    guest = lab.Guest("10.0", mem=mem, name="soak", kernel_args=f"firn.mb={mb}"
                      " firn.verify=0 firn.rate=100")
    with guest:
        guest.wait_heartbeat(3, timeout=120)
        taken = snapshot(repo, guest, timeout=300)
    return repo, taken["id"], guest


def time_to_running(repo, snap, guest):
    """One lazy restore: ms until running; prints what it asserts."""
    mark = guest.serial_size()
    done = lab.firn_start("--repo", repo, "--json", "restore", snap)
    running = json.loads(done.stdout.readline())
    assert running["type"] == "running", running
    back = lab.Guest.attach(guest.dir)
    beat = back.wait_heartbeat(1, since=mark)
    early = done.poll() is None
    assert beat.bad == 0
    rest = done.communicate(timeout=120)[0]
    assert done.returncode == 0, rest
    back.kill()
    share = running["read_bytes"] / running["image_bytes"]
    say(f"{guest.mem} MiB: running after {running['elapsed_ms']} ms with"
        f" {share:.2%} of the image read; first heartbeat before the last"
        f" page: {early}")
    assert share < 0.5
    return running["elapsed_ms"]


def test_time_to_running_does_not_grow_with_ram():
    """In turn, so that what else the machine does falls on both alike."""
    small = capture_for_timing(256, 128)
    large = capture_for_timing(2048, 1500)
    times = [(time_to_running(*small), time_to_running(*large))
             for _ in range(7)]
    medians = [sorted(column)[len(column) // 2] for column in zip(*times)]
    say(f"medians: 256 MiB {medians[0]} ms, 2 GiB {medians[1]} ms:"
        f" {medians[1] / medians[0]:.2f} times")
    assert medians[1] <= 1.5 * medians[0]


def test_an_idle_guest_costs_under_three_percent():
    for version in ("10.0", "7.2"):
        repo = new_repository()
        with lab.Guest(version, mem=768, name="soak", kernel_args="firn.mb=560"
                       " firn.hot=0 firn.rate=0 firn.verify=0") as guest:
            guest.wait_heartbeat(5)
            first = snapshot(repo, guest)
            second = snapshot(repo, guest)
        share = second["stored_bytes"] / first["stored_bytes"]
        say(f"{version}: {first['stored_bytes']} bytes, then"
            f" {second['stored_bytes']}: {share:.2%};"
            f" duplicate pages {second['pages']['duplicate']}")
        assert share < 0.03
        assert second["pages"]["duplicate"] > 50000


def kill_loop(version, paused):
    """kill -9 of firn at random moments of a capture."""
    repo = new_repository()
    rng = random.Random(2026)
    with lab.Guest(version, mem=320, name="soak",
                   kernel_args="firn.mb=200 firn.rate=2000") as guest:
        guest.wait_heartbeat(5)
        def pause():
            """Paused, and to be captured: 7.2 knows no way out of
            postmigrate but `cont`."""
            if guest.status() == "postmigrate":
                assert version == "7.2"
                guest.cont()
            guest.stop()

        snapshot(repo, guest)
        length = 1e9
        for _ in range(2):
            if paused:
                pause()
            begun = time.monotonic()
            snapshot(repo, guest)
            length = min(length, time.monotonic() - begun)
        cut = finished = 0
        for _ in range(KILLS):
            if paused:
                pause()
            run = lab.firn_start("--repo", repo, "snapshot", "--qmp",
                                 guest.qmp_path, "--name", "soak")
            time.sleep(rng.uniform(0, length))
            run.send_signal(signal.SIGKILL)
            run.communicate()
            # QEMU notices the closed socket at its next write.
            lab.wait_until(lambda: guest.qmp("query-migrate").get("status")
                           in (None, "failed", "completed", "cancelled"),
                           30, "end of the orphaned migration")
            if run.returncode == 0:
                finished += 1
            else:
                cut += 1
            if paused:
                guest.wait_status("paused", "postmigrate", timeout=30)
                mark = guest.serial_size()
                time.sleep(0.3)
                assert guest.serial_size() == mark, "the guest moved"
                # The run state follows the migration's end by a moment.
                state = guest.status()
                assert state in ("paused", "postmigrate"), state
                pause()
            else:
                guest.wait_status("running", timeout=30)
                guest.heartbeat_advances(timeout=60)
            expect_clean(repo)
            taken = snapshot(repo, guest)
            assert taken["id"]
        if paused:
            guest.cont()
        guest.assert_good()
        guest.kill()
        mark = guest.serial_size()
        restore(repo, "latest")
        back = lab.Guest.attach(guest.dir)
        if paused:
            back.cont()
        back.wait_heartbeat(1, since=mark)
        back.assert_good()
        back.kill()
    say(f"{version} {'paused' if paused else 'running'}: {cut} killed in the"
        f" middle, {finished} had ended; a capture takes {length:.2f} s")
    assert cut >= KILLS // 2


def test_kill_9_of_a_capture_on_10_0():
    kill_loop("10.0", paused=False)


def test_kill_9_of_a_capture_on_7_2():
    kill_loop("7.2", paused=False)


def test_kill_9_of_a_capture_of_a_paused_guest_on_10_0():
    kill_loop("10.0", paused=True)


def test_kill_9_of_a_capture_of_a_paused_guest_on_7_2():
    kill_loop("7.2", paused=True)


def test_a_full_file_system_harms_nobody():
    for version in ("10.0", "7.2"):
        mount = lab.tmpdir("firn-full-")
        size = "40m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none",
                        mount], check=True)
        try:
            repo = f"{mount}/r"
            lab.firn("init", repo)
            with lab.Guest(version, mem=320, name="soak",
                           kernel_args="firn.mb=200") as guest:
                guest.wait_heartbeat(5)
                done = lab.firn("--repo", repo, "--json", "snapshot", "--qmp",
                                guest.qmp_path, "--name", "soak", check=False)
                say(f"{version}: exit {done.returncode},"
                    f" {done.stderr.strip()}")
                assert done.returncode == 15, done.stdout
                guest.wait_status("running")
                guest.heartbeat_advances()
                guest.assert_good()
            assert lab.firn_json("--repo", repo, "--json", "list") == []
            expect_clean(repo)
        finally:
            subprocess.run(["umount", mount], check=True)


if __name__ == "__main__":
    lab.main(globals())
