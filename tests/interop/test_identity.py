#!/usr/bin/env python3
"""Copies of a VM: maps of paths and addresses, several at once, generation ids.

    test_identity.py [test_...]
"""
import json
import os
import re
import shutil
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402
from restored import Taken, is_qemu_of, shared  # noqa: E402

VERSIONS = ("7.2", "10.0")
MAC = "52:54:00:12:34:56"
GUID = "11111111-2222-3333-4444-555555555555"


def with_disk(**kwargs):
    """A capture of a VM with a disk and a network card."""
    image = lab.tmpdir("firn-disk-") + "/disk.raw"
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    taken = Taken(extra=["-drive", f"file={image},format=raw,if=virtio",
                         "-nic", f"user,mac={MAC}"], **kwargs)
    taken.image = image
    return taken


class Copy:
    """A place for one more VM: a folder and a disk of its own."""

    def __init__(self, taken, n):
        self.taken = taken
        self.dir = lab.tmpdir("firn-copy-")
        shutil.copy(taken.guest.dir + "/guest.json", self.dir)
        self.image = self.dir + "/disk.raw"
        shutil.copy(taken.image, self.image)
        self.mac = f"52:54:00:12:34:6{n}"

    def maps(self):
        return ["--map", f"{self.taken.guest.dir}={self.dir}",
                "--map", f"{self.taken.image}={self.image}",
                "--map", f"{MAC}={self.mac}"]


def test_three_copies_at_once():
    taken = with_disk()
    copies = [Copy(taken, n) for n in range(3)]
    runs = [taken.start("--new-identity", *c.maps()) for c in copies]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, (run.returncode, out, err)
        assert "was not compared" in err, err
    guests = [lab.Guest.attach(c.dir) for c in copies]
    try:
        for guest, c in zip(guests, copies):
            argv = b"\0".join(lab._cmdline(str(guest.pid))).decode()
            assert c.mac in argv and c.image in argv, argv
            assert taken.guest.dir not in argv and MAC not in argv, argv
            assert taken.image not in argv, argv
            guest.wait_heartbeat(1)
            guest.heartbeat_advances()
            guest.assert_good()
            assert guest.qmp("query-migrate")["status"] == "completed"
    finally:
        for guest in guests:
            guest.kill()
    assert taken.runtime_files(".json") == []
    assert taken.leases() == []


def test_a_map_that_replaces_nothing_is_an_error():
    taken = shared()
    error = taken.refuse(2, "--map", "/no/such=/place")
    assert "/no/such" in error["message"] and error["hint"], error
    error = taken.refuse(2, "--map", "nonsense")
    assert "OLD=NEW" in error["message"], error
    # The beginning of a name is not the name.
    error = taken.refuse(2, "--map", f"{taken.guest.dir[:-2]}=/place")
    assert taken.guest.dir[:-2] in error["message"], error
    assert not is_qemu_of(taken.guest)
    assert taken.leases() == []


def test_what_another_vm_has_is_named_before_the_start():
    taken = with_disk()
    first, second = Copy(taken, 1), Copy(taken, 2)
    taken.restore(*first.maps())
    with lab.Guest.attach(first.dir) as guest:
        # The same sockets.
        error = taken.refuse(21, *first.maps())
        assert f"process {guest.pid} listens" in error["message"], error
        assert "--map" in error["hint"], error
        # The same disk.
        maps = second.maps()
        maps[3] = f"{taken.image}={first.image}"
        error = taken.refuse(21, *maps)
        assert f"'{first.image}' locked" in error["message"], error
        # A disk that is not there.
        maps[3] = f"{taken.image}=/no/such.raw"
        error = taken.refuse(21, *maps)
        assert "/no/such.raw" in error["message"], error
        guest.heartbeat_advances()
        guest.assert_good()


def test_a_copy_beside_the_original_needs_a_disk_of_its_own():
    image = lab.tmpdir("firn-disk-") + "/disk.raw"
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    lab.firn("init", repo)
    with lab.Guest("10.0", name="vm", kernel_args="firn.mb=64", extra=[
            "-drive", f"file={image},format=raw,if=virtio"]) as guest:
        guest.wait_heartbeat(1)
        lab.firn("--repo", repo, "snapshot", "--qmp", guest.qmp_path)
        folder = lab.tmpdir("firn-copy-")
        shutil.copy(guest.dir + "/guest.json", folder)
        argv = ("--repo", repo, "--json", "restore", "latest", "--map",
                f"{guest.dir}={folder}")
        done = lab.firn(*argv, check=False)
        assert done.returncode == 21 and image in done.stdout, done
        shutil.copy(image, folder)
        lab.firn(*argv, "--map", f"{image}={folder}/disk.raw")
        with lab.Guest.attach(folder) as other:
            other.heartbeat_advances()
            other.assert_good()
            guest.heartbeat_advances()
            guest.assert_good()


def where_the_guest_has(guest, guid):
    """Addresses of the GUID in guest memory: the firmware's, the kernel's."""
    path = guest.dir + "/ram"
    guest.qmp("pmemsave", val=0, size=guest.mem << 20, filename=path)
    with open(path, "rb") as f:
        data = f.read()
    os.unlink(path)
    return [m.start() for m in re.finditer(
        re.escape(uuid.UUID(guid).bytes_le), data)]


def new_generation(version, *args):
    places = []
    taken = Taken(version, extra=["-device", f"vmgenid,guid={GUID}"],
                  prepare=lambda g: places.extend(where_the_guest_has(g, GUID)))
    # One in the firmware's table, one that the guest's kernel read from it.
    assert len(places) == 2, places
    taken.restore(*args)
    with taken.back() as guest:
        taken.expect_good(guest)
        assert guest.qmp("query-vm-generation-id")["guid"] == GUID
        assert where_the_guest_has(guest, GUID) == places
    taken.mark = taken.guest.serial_size()
    run = taken.start("--new-identity", *args)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, (out, err)
    with taken.back() as guest:
        taken.expect_good(guest)
        now = guest.qmp("query-vm-generation-id")["guid"]
        assert now != GUID and now in err, (now, err)
        # The kernel was told, and read it again; to mix it in, it copied it.
        found = where_the_guest_has(guest, now)
        assert set(places) <= set(found), (places, found)
        assert not set(places) & set(where_the_guest_has(guest, GUID))


def test_a_new_identity_reaches_the_guest():
    for version in VERSIONS:
        new_generation(version)


def test_a_new_identity_reaches_the_guest_eagerly():
    new_generation("10.0", "--eager")


def test_a_new_identity_without_the_device_is_a_note():
    taken = shared()
    run = taken.start("--new-identity")
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0 and "no vmgenid" in err, (out, err)
    assert json.loads(out.splitlines()[-1])["type"] == "resident"
    with taken.back() as guest:
        taken.expect_good(guest)


lab.main(globals())
