#!/usr/bin/env python3
"""What the commands tell of real snapshots of real VMs.

    test_cli.py [test_...]
"""
import contextlib
import functools
import glob
import json
import os
import pty
import shutil
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402

SECRET = "hush,,hush"


@functools.lru_cache(maxsize=None)
def taken():
    """A repository with two snapshots of one VM, and the objects `snapshot`
    printed for them."""
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    disk = os.path.join(lab.tmpdir("firn-disk-"), "disk.raw")
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    lab.firn("init", repo)
    with lab.Guest(name="vm1", mem=160, kernel_args="firn.mb=48", extra=[
            "-object", f"secret,id=s0,data={SECRET},format=raw",
            "-drive", f"file={disk},format=raw,if=none,id=d0"]) as guest:
        guest.wait_heartbeat(3)
        objects = [
            lab.firn_json("--repo", repo, "--json", "snapshot", "--qmp",
                          guest.qmp_path, "--tag", f"n={n}")[-1]
            for n in (1, 2)]
    return repo, objects, disk


def firn(*words, **kwargs):
    return lab.firn("--repo", taken()[0], *words, **kwargs)


def firn_json(*words, **kwargs):
    return lab.firn_json("--repo", taken()[0], "--json", *words, **kwargs)


def test_list_and_show_tell_what_snapshot_told():
    _, objects, _ = taken()
    listed = firn_json("list")
    assert [o["id"] for o in listed] == [o["id"] for o in objects]
    for told, line in zip(objects, listed):
        assert line["vm"] == "vm1"
        assert line["ram_bytes"] == told["ram_bytes"]
        assert line["new_bytes"] == told["stored_bytes"]
        assert line["tags"] == told["tags"]
        shown = firn_json("show", told["id"])[0]
        for key in ("id", "vm", "mode", "rounds", "channels", "ram_bytes",
                    "stored_bytes", "device_bytes", "machine"):
            assert shown[key] == told[key], key
        kinds = shown["pages"]
        assert kinds["total"] == shown["ram_bytes"] // 4096
        assert kinds["total"] == kinds["zero"] + kinds["unseen"] \
            + kinds["duplicate"] + kinds["stored"] - kinds["superseded"]
    text = firn("list").stdout
    for told in objects:
        assert told["id"] in text
    assert firn("list", "nobody").stdout == ""


def test_the_blocks_add_up_and_the_map_is_of_them():
    shown = firn_json("show", "latest", "--map")[0]
    assert sum(b["bytes"] for b in shown["blocks"]) == shown["ram_bytes"]
    assert sum(b["pages"]["zero"] for b in shown["blocks"]) \
        == shown["pages"]["zero"] + shown["pages"]["unseen"]
    for block in shown["blocks"]:
        pages, cells = block["pages"], block["map"]["cells"]
        assert pages["zero"] + pages["data"] == pages["total"]
        assert len(cells) <= 1024
        assert len(cells) == -(-block["bytes"] // block["map"]["cell_bytes"])
        assert (pages["data"] == 0) == (set(cells) <= {"."})
        assert pages["data"] == sum(
            block["map"][k] for k in ("new", "shared", "incompressible"))
    ram = next(b for b in shown["blocks"] if b["name"] == "pc.ram")
    assert {".", "#"} <= set(ram["map"]["cells"])
    assert sum(d["bytes"] for d in shown["devices"]) == shown["device_bytes"]
    for line in firn("show", "latest", "--map").stdout.split("\nDEVICE")[0] \
            .splitlines():
        assert len(line) <= 80, line


def test_secrets_are_never_shown_and_disks_are():
    _, _, disk = taken()
    for words in (["show", "latest"], ["show", "latest", "--json"]):
        text = firn(*words).stdout
        assert "hush" not in text
        assert "secret,id=s0,data=***,format=raw" in text
        assert disk in text


def test_a_snapshot_has_many_names():
    _, (first, second), _ = taken()
    for name, told in ((first["id"], first), (second["id"][:12], second),
                       ("latest", second), ("vm1@latest", second),
                       ("vm1@-1", second), ("vm1@-2", first)):
        assert firn_json("show", name)[0]["id"] == told["id"], name
    for name in ("vm2@latest", "vm1@-3", "ffffffffffffffff"):
        done = firn("--json", "show", name, check=False)
        assert done.returncode == 1, done
        assert json.loads(done.stdout)["code"] == "not_found"


def test_check_counts_what_it_read():
    *findings, last = firn_json("check", "--read-data")
    assert not findings
    assert last["type"] == "check"
    assert (last["snapshots"], last["errors"]) == (2, 0)
    packs = glob.glob(taken()[0] + "/packs/*/*")
    assert last["packs"] == len(packs)
    assert last["pages_hashed"] > 1000
    one = firn_json("check", "vm1@-2")[-1]
    assert (one["snapshots"], one["errors"]) == (1, 0)


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x10]))


@contextlib.contextmanager
def damaged(pattern):
    """A copy of the repository with one bit of one file flipped: its path and
    the file's name."""
    copy = os.path.join(lab.tmpdir("firn-copy-"), "r")
    shutil.copytree(taken()[0], copy)
    path = sorted(glob.glob(os.path.join(copy, pattern)),
                  key=os.path.getsize)[-1]
    flip(path, os.path.getsize(path) // 3)
    yield copy, os.path.basename(path)
    shutil.rmtree(copy)


def test_a_flipped_bit_is_named():
    for pattern in ("packs/*/*", "snapshots/*"):
        with damaged(pattern) as (copy, name):
            done = lab.firn("--repo", copy, "--json", "check", "--read-data",
                            check=False)
            assert done.returncode == 13, done
            *findings, last = map(json.loads, done.stdout.splitlines())
            assert last["type"] == "check" and last["errors"] > 0
            assert any(f["type"] == "finding" and f["code"] == "damaged"
                       and (name in f["object"] or name in f["message"])
                       for f in findings), findings
            done = lab.firn("--repo", copy, "check", "--read-data",
                            check=False)
            assert done.returncode == 13
            assert name in done.stdout
            assert done.stderr.startswith("firn: ")


def test_a_damaged_snapshot_does_not_hide_the_other():
    with damaged("snapshots/*") as (copy, name):
        done = lab.firn("--repo", copy, "--json", "list", check=False)
        assert done.returncode == 13
        listed, error = map(json.loads, done.stdout.splitlines())
        assert listed["type"] == "snapshot" and listed["id"] != name
        assert (error["type"], error["code"]) == ("error", "damaged")
        assert name in done.stderr


def doctor(guest):
    return {o["check"]: o for o in lab.firn_json(
        "--json", "doctor", "--qmp", guest.qmp_path)}


def test_doctor_knows_both_versions():
    for version, mode in (("7.2", "background"), ("10.0", "stream")):
        with lab.Guest(version, mem=64, kernel=False) as guest:
            checks = doctor(guest)
            assert f"QEMU {version}." in checks["vm"]["detail"]
            assert str(guest.pid) in checks["vm"]["detail"]
            for name in ("vm", "run state", "migration", "capabilities"):
                assert checks[name]["status"] == "ok", checks[name]
            assert f"mode {mode}" in checks["mode"]["detail"]
            assert guest.status() == "running"


def test_doctor_names_what_a_capture_of_a_paused_vm_leaves_on_7_2():
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    lab.firn("init", repo)
    with lab.Guest("7.2", mem=64, kernel=False, name="p") as guest:
        guest.stop()
        lab.firn("--repo", repo, "snapshot", "--qmp", guest.qmp_path)
        guest.wait_status("postmigrate", "paused")
        state = guest.status()
        check = doctor(guest)["run state"]
        assert state in check["detail"]
        if state == "postmigrate":
            assert check["status"] == "warning"
            assert "cont" in check["remedy"]


def slow_snapshot(guest, repo, *words, **kwargs):
    """A capture that takes some seconds."""
    lab.firn("init", repo)
    return lab.firn_start("--repo", repo, "snapshot", "--qmp", guest.qmp_path,
                          "--max-bandwidth", "16M", "--name", "slow", *words,
                          **kwargs)


def test_a_terminal_shows_progress():
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    with lab.Guest(mem=160, kernel_args="firn.mb=64") as guest:
        guest.wait_heartbeat(3)
        far, near = pty.openpty()
        process = slow_snapshot(guest, repo, stderr=near)
        os.close(near)
        seen = b""
        while seen.count(b"\r\x1b[K") < 5:
            seen += os.read(far, 4096)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):
            while process.poll() is None or seen:
                seen = os.read(far, 4096)
        assert process.wait(30) == 130
        assert guest.wait_status("running")
        os.close(far)
    assert lab.firn("--repo", repo, "list", "-q").stdout == ""


def test_usr1_prints_one_line_anywhere():
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    with lab.Guest(mem=160, kernel_args="firn.mb=64") as guest:
        guest.wait_heartbeat(3)
        process = slow_snapshot(guest, repo, "--json", "-q")
        lab.wait_until(lambda: guest.qmp("query-migrate").get("status")
                       == "active", 20, "migration")
        process.send_signal(signal.SIGUSR1)
        assert process.stderr.readline().strip()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 143, (out, err)
        assert json.loads(out.splitlines()[-1])["code"] == "terminated"
        assert guest.wait_status("running")


lab.main(globals())
