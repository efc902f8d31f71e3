#!/usr/bin/env python3
"""`firn run` and hooks with real VMs.

    test_run.py [test_...]
"""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402


def guest(name, version="10.0", **kwargs):
    return lab.Guest(version, mem=160, name=name,
                     kernel_args="firn.mb=48 firn.rate=200", **kwargs)


def write_config(folder, vms, **keys):
    """A config in which all share FOLDER/r; `vms`: name → {key: value}."""
    path = f"{folder}/config"
    with open(path, "w") as f:
        for key, value in {"repository": f"{folder}/r", **keys}.items():
            print(f"{key.replace('_', '-')} = {value}", file=f)
        for name, words in vms.items():
            print(f"[vm {name}]", file=f)
            for key, value in words.items():
                for one in value if isinstance(value, list) else [value]:
                    print(f"{key.replace('_', '-')} = {one}", file=f)
    return path


def new_folder():
    folder = lab.tmpdir("firn-run-")
    lab.firn("init", f"{folder}/r")
    return folder


def snapshots(repo, vm=None):
    return lab.firn_json("--repo", repo, "--json", "list",
                         *([vm] if vm else []))


@contextlib.contextmanager
def silent_monitor(path):
    """Somebody who takes QMP's connections and never says a word."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        taken = []

        def take():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])
        threading.Thread(target=take, daemon=True).start()
        yield taken
        listener.shutdown(socket.SHUT_RDWR)
        for connection in taken:
            connection.close()


@contextlib.contextmanager
def small_disk(size):
    mount = lab.tmpdir("firn-full-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none",
                    mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


def test_three_of_five_fail_and_the_others_have_their_snapshots():
    folder = new_folder()
    with contextlib.ExitStack() as stack:
        if os.geteuid() != 0:
            raise lab.Skip("mounting a small disk needs root")
        disk = stack.enter_context(small_disk("24m"))
        lab.firn("init", f"{disk}/r")
        hung = f"{folder}/hung.sock"
        stack.enter_context(silent_monitor(hung))
        guests = {name: stack.enter_context(guest(name))
                  for name in ("good1", "good2", "full")}
        for g in guests.values():
            g.wait_heartbeat(3)
        config = write_config(folder, {
            "down": {"socket": f"{folder}/nobody.sock", "required": "yes"},
            "hung": {"socket": hung},
            "good1": {"socket": guests["good1"].qmp_path, "keep_last": "2"},
            "full": {"socket": guests["full"].qmp_path,
                     "repository": f"{disk}/r"},
            "good2": {"socket": guests["good2"].qmp_path, "keep_last": "2"},
        }, jobs=2, max_duration="60s", metrics_file=f"{folder}/firn.prom")
        begun = time.monotonic()
        done = lab.firn("run", "--config", config, check=False)
        took = time.monotonic() - begun
        print(f"  {took:.1f} s, exit {done.returncode}\n  "
              + done.stderr.replace("\n", "\n  "))
        assert took < 60
        # A line for each of the three, and nothing else.
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        named = {line.split(": ")[1]: line for line in lines}
        assert sorted(named) == ["down", "full", "hung"] and len(lines) == 3
        assert "the VM does not run" in named["down"]
        assert "nearly full" in named["full"] or "No space" in named["full"]
        # No space is worse than a VM that does not answer.
        assert done.returncode == 15, done
        for name in ("good1", "good2"):
            assert len(snapshots(f"{folder}/r", name)) == 1
        assert snapshots(f"{disk}/r") == []
        for name, g in guests.items():
            assert g.status() == "running", name
            g.heartbeat_advances()
        # Again, as a program sees it.
        done = lab.firn("run", "--config", config, "--json", check=False)
        objects = [json.loads(line) for line in done.stdout.splitlines()]
        results = {o["vm"]: o for o in objects if o["type"] == "vm"}
        assert {n: o.get("code") for n, o in results.items()} == {
            "down": "vm_unreachable", "hung": results["hung"]["code"],
            "full": "no_space", "good1": None, "good2": None}
        assert results["hung"]["code"] in ("timeout", "vm_unreachable")
        last = objects[-1]
        assert last["type"] == "run" and last["status"] == 15
        assert (last["ok"], last["failed"]) == (2, 3), last
        with open(f"{folder}/firn.prom") as f:
            told = f.read()
        for name in ("good1", "good2"):
            assert f'firn_success{{vm="{name}"}} 1\n' in told
            assert f'firn_last_check_timestamp_seconds{{vm="{name}"}} 1' \
                in told
            assert f'firn_snapshot_qemu_faults{{vm="{name}"}} ' in told
        assert 'firn_success{vm="full"} 0\n' in told
        assert "firn_run_exit_status 15\n" in told
        for name in ("good1", "good2"):
            assert len(snapshots(f"{folder}/r", name)) == 2
            assert results[name]["id"] == snapshots(f"{folder}/r",
                                                    name)[-1]["id"]
            guests[name].assert_good()


def test_the_time_limit_is_held_against_a_vm_that_hangs():
    folder = new_folder()
    hung = f"{folder}/hung.sock"
    with silent_monitor(hung), guest("good") as g:
        g.wait_heartbeat(3)
        config = write_config(folder, {
            "hung": {"socket": hung},
            "late": {"socket": hung + "2", "required": "yes"},
            "good": {"socket": g.qmp_path}}, jobs=2)
        begun = time.monotonic()
        done = lab.firn("run", "--config", config, "--max-duration", "4s",
                        check=False)
        took = time.monotonic() - begun
        assert 3.9 < took < 8, took
        assert done.returncode == 23, done
        assert "firn: hung: the time limit of the run is over" in done.stderr
        assert len(snapshots(f"{folder}/r", "good")) == 1
        assert g.status() == "running"


def test_nothing_is_said_when_all_is_well_and_policies_are_followed():
    folder = new_folder()
    with guest("web") as g:
        g.wait_heartbeat(3)
        config = write_config(folder, {
            "web": {"socket": g.qmp_path, "keep_last": "2", "every": "1h",
                    "tag": ["role=web", "by=run"], "verify": "yes"},
            "off": {"socket": f"{folder}/nobody"}})
        def run(*words):
            done = lab.firn("run", "--config", config, *words)
            assert (done.stdout, done.stderr) == ("", ""), done
        run()
        first = snapshots(f"{folder}/r")
        assert [s["tags"] for s in first] == [{"role": "web", "by": "run"}]
        # Not due for an hour; then four by force, of which two stay.
        run()
        assert snapshots(f"{folder}/r") == first
        for _ in range(3):
            run("--now", "web")
        assert len(snapshots(f"{folder}/r")) == 2
        planned = lab.firn("run", "--config", config, "--dry-run").stdout
        assert "web: not due, last snapshot 20" in planned, planned
        planned = lab.firn("run", "--config", config, "--dry-run",
                           "--now").stdout
        assert "web: due, last snapshot 20" in planned, planned
        assert len(snapshots(f"{folder}/r")) == 2
        lab.firn("--repo", f"{folder}/r", "check", "--read-data")


def test_one_run_at_a_time_works_on_a_vm():
    folder = new_folder()
    with guest("vm") as g:
        g.wait_heartbeat(3)
        mark = f"{folder}/paused"
        config = write_config(folder, {
            "vm": {"socket": g.qmp_path,
                   "hook": f"before-pause=touch {mark}; sleep 2"}})
        one = lab.firn_start("run", "--config", config)
        lab.wait_until(lambda: os.path.exists(mark), 20, "first run")
        two = lab.firn("run", "--config", config, check=False)
        assert two.returncode == 11, two
        assert f"firn: vm: process {one.pid} is working on it" in two.stderr
        three = lab.firn("run", "--config", config, "--wait", "60s")
        assert (three.stdout, three.stderr) == ("", "")
        assert one.wait() == 0
        assert len(snapshots(f"{folder}/r")) == 2


def test_a_killed_run_leaves_its_vm_alone_and_no_lock():
    folder = new_folder()
    with guest("vm") as g:
        g.wait_heartbeat(3)
        mark = f"{folder}/begun"
        config = write_config(folder, {
            "vm": {"socket": g.qmp_path,
                   "hook": [f"before-pause=touch {mark}",
                            f"failed=touch {folder}/failed"],
                   "max_bandwidth": "8M/s"}})
        run = lab.firn_start("run", "--config", config)
        lab.wait_until(lambda: os.path.exists(mark), 20, "capture")
        lab.wait_until(lambda: g.qmp("query-migrate").get("status")
                       == "active", 20, "migration")
        run.send_signal(signal.SIGKILL)
        run.wait()
        # The capture is told, ends in good order, and says so to the hook.
        lab.wait_until(lambda: os.path.exists(f"{folder}/failed"), 30,
                       "end of the orphaned capture")
        lab.wait_until(lambda: g.qmp("query-migrate").get("status")
                       in ("failed", "cancelled", "completed", None), 30,
                       "end of the migration")
        g.wait_status("running")
        g.heartbeat_advances()
        assert snapshots(f"{folder}/r") == []
        write_config(folder, {"vm": {"socket": g.qmp_path}})
        lab.firn("run", "--config", config, "--wait", "20s")
        assert len(snapshots(f"{folder}/r")) == 1
        g.assert_good()


def test_hooks_see_the_vm_as_they_should():
    folder = new_folder()
    with guest("vm") as g:
        g.wait_heartbeat(3)
        # The other monitor tells what the VM does at that moment.
        probe = f"{folder}/probe"
        with open(probe, "w") as f:
            f.write(f"""#!{sys.executable}
import json, os, sys
sys.path.insert(0, {os.path.dirname(lab.__file__)!r})
import lab
told = json.load(sys.stdin)
assert told["when"] == os.environ["FIRN_WHEN"]
told["status"] = lab.Qmp({g.test_path!r}).execute("query-status")["status"]
with open({folder!r} + "/" + told["when"], "w") as f:
    json.dump(told, f)
""")
        os.chmod(probe, 0o755)
        # One monitor, one client: ours lets go of it.
        g.monitor.close()
        g._qmp = None
        hooks = [word for when in ("before-pause", "paused", "resumed",
                                   "committed", "failed")
                 for word in ("--hook", f"{when}={probe}")]
        taken = lab.firn_json("--repo", f"{folder}/r", "--json", "snapshot",
                              "--qmp", g.qmp_path, "--max-downtime", "30s",
                              *hooks)[-1]
        def told(when):
            with open(f"{folder}/{when}") as f:
                return json.load(f)
        assert told("before-pause")["status"] == "running"
        assert told("paused")["status"] in ("finish-migrate", "postmigrate")
        assert told("resumed")["status"] == "running"
        assert told("committed")["status"] == "running"
        assert told("committed")["snapshot"]["id"] == taken["id"]
        assert not os.path.exists(f"{folder}/failed")
        assert {told(w)["vm"] for w in ("paused", "committed")} == {"vm"}


def test_a_hook_never_keeps_a_vm_paused_beyond_its_limit():
    folder = new_folder()
    with guest("vm") as g:
        g.wait_heartbeat(3)
        before = g.heartbeat_advances()
        mark = g.serial_size()
        done = lab.firn("--repo", f"{folder}/r", "--json", "snapshot", "--qmp",
                        g.qmp_path, "--max-downtime", "700ms", "--hook",
                        "paused=trap '' TERM INT HUP; sleep 1000", check=False)
        assert done.returncode == 23, done
        assert "hook paused" in json.loads(done.stdout)["message"]
        g.wait_status("running")
        g.heartbeat_advances()
        beats = [before] + g.heartbeats(mark)
        gap = max(b.t_ms - a.t_ms for a, b in zip(beats, beats[1:]))
        # The guest's clock stands still while it is stopped: wall time it is
        # not, but it ran on, and nothing was stored.
        assert gap < 5000, gap
        assert snapshots(f"{folder}/r") == []
        # Mode background has no such moment, and says so before it begins.
        done = lab.firn("--repo", f"{folder}/r", "snapshot", "--qmp",
                        g.qmp_path, "--mode", "background", "--hook",
                        "paused=true", check=False)
        assert done.returncode == 1 and "no moment" in done.stderr, done


def test_auto_never_passes_over_a_paused_hook():
    """7.2 under TCG: auto would take background, which has no such moment."""
    folder = new_folder()
    with guest("vm", version="7.2") as g:
        g.wait_heartbeat(3)
        mark = f"{folder}/ran"
        done = lab.firn("--repo", f"{folder}/r", "snapshot", "--qmp",
                        g.qmp_path, "--hook", f"paused=touch {mark}",
                        check=False)
        assert done.returncode == 1, done
        assert not os.path.exists(mark)
        assert snapshots(f"{folder}/r") == [] and g.status() == "running"
        # Paused, stream is right there as well, and the hook runs.
        g.stop()
        lab.firn("--repo", f"{folder}/r", "snapshot", "--qmp", g.qmp_path,
                 "--hook", f"paused=touch {mark}")
        assert os.path.exists(mark) and len(snapshots(f"{folder}/r")) == 1


def test_a_hook_that_fails_late_is_exit_3_and_the_snapshot_stays():
    folder = new_folder()
    with guest("vm") as g:
        g.wait_heartbeat(3)
        done = lab.firn("--repo", f"{folder}/r", "--json", "snapshot", "--qmp",
                        g.qmp_path, "--hook", "committed=exit 9", check=False)
        objects = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 3
        assert [o["type"] for o in objects] == ["snapshot", "error"]
        assert "'exit 9' failed with status 9" in objects[1]["message"]
        assert len(snapshots(f"{folder}/r")) == 1


if __name__ == "__main__":
    lab.main(globals())
