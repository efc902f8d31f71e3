#!/usr/bin/env python3
"""Memory that is not one anonymous block: huge pages, NUMA nodes, memory that
was plugged in; each comes back right, or is refused with the reason.

    test_layouts.py [test_...]
"""
import contextlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402
from restored import Taken, is_qemu_of  # noqa: E402

VERSIONS = ("7.2", "10.0")
KERNEL = "firn.mb=64 firn.rate=2000"
POOL = "/proc/sys/vm/nr_hugepages"


def count(name):
    with open("/sys/kernel/mm/hugepages/hugepages-2048kB/" + name) as f:
        return int(f.read())


_found = {}  # before the first test: what a dying QEMU holds is counted too


@contextlib.contextmanager
def huge_pages(n):
    """At least n free pages of 2 MiB, given back afterwards."""
    def reserve():
        # A QEMU that was killed a moment ago may still hold some.
        used = count("nr_hugepages") - count("free_hugepages")
        with open(POOL, "w") as f:
            f.write(str(used + n))
        return count("free_hugepages") >= n

    try:
        _found.setdefault("pages", count("nr_hugepages"))
        reserve()
    except OSError as error:
        raise lab.Skip(f"no huge pages: {error}") from None
    try:
        try:
            lab.wait_until(reserve, 10, "huge pages")
        except lab.Timeout:
            raise lab.Skip(f"no {n} huge pages are to be had") from None
        yield
    finally:
        with open(POOL, "w") as f:
            f.write(str(_found["pages"]))


def backend(id, size, kind="memory-backend-memfd,hugetlb=on,hugetlbsize=2M"):
    return ["-object", f"{kind},id={id},size={size}"]


def capture(version, **kwargs):
    """7.2 can capture shared memory of an emulated guest that runs only in the
    way that loses writes: it is captured standing still."""
    still = version == "7.2"
    kwargs.setdefault("kernel_args", KERNEL)
    taken = Taken(version, paused=still, **kwargs)
    taken.paused = still
    return taken


def comes_back(taken, *args):
    events = taken.restore(*args)
    with taken.back() as guest:
        if taken.paused:
            guest.cont()
        taken.expect_good(guest, migrated="--eager" not in args)
    return events


# Huge pages.


def on_huge_pages(version):
    with huge_pages(160):
        taken = capture(version, machine="pc,memory-backend=pc.ram",
                        extra=backend("pc.ram", "256M"))
        events = comes_back(taken)
        assert events["resident"]["faults"] > 0, events
        taken.mark = taken.guest.serial_size()
        comes_back(taken, "--eager")


def test_huge_pages_on_7_2():
    on_huge_pages("7.2")


def test_huge_pages_on_10_0():
    on_huge_pages("10.0")


def test_small_pages_become_huge_ones_and_huge_ones_small():
    with huge_pages(160):
        taken = capture("10.0", machine="pc,memory-backend=pc.ram",
                        extra=backend("pc.ram", "256M", "memory-backend-ram"))
        argv = [w.replace("memory-backend-ram,", "memory-backend-memfd,"
                          "hugetlb=on,hugetlbsize=2M,")
                for w in taken.guest.command]
        comes_back(taken, "--", *argv)
        taken = capture("10.0", machine="pc,memory-backend=pc.ram",
                      extra=backend("pc.ram", "256M"))
        argv = [w.replace("memory-backend-memfd,hugetlb=on,hugetlbsize=2M,",
                          "memory-backend-ram,")
                for w in taken.guest.command]
        comes_back(taken, "--", *argv)


def test_a_pager_killed_over_huge_pages_is_replaced():
    for version in VERSIONS:
        with huge_pages(160):
            taken = capture(version, machine="pc,memory-backend=pc.ram",
                          extra=backend("pc.ram", "256M"))
            run = taken.start("--max-bandwidth", "24M")
            run.stdout.readline()
            killed = []
            for _ in range(5):
                pid = taken.wait_process("pager", killed)
                os.kill(pid, 9)
                killed.append(pid)
            out, err = run.communicate(timeout=120)
            assert run.returncode == 0, (run.returncode, out, err)
            with taken.back() as guest:
                if taken.paused:
                    guest.cont()
                taken.expect_good(guest)


# Several blocks.


def numa(first, second):
    return [*first, *second,
            "-numa", "node,nodeid=0,memdev=m0,cpus=0",
            "-numa", "node,nodeid=1,memdev=m1"]


# A hot set that is small, and nothing that empties TCG's TLB: so a stream that
# loses writes shows it.
HOT = "firn.mb=64 firn.hot=1 firn.rate=2000 firn.verify=0"


def two_blocks(first, second, kind="memory-backend-ram"):
    return numa(backend("m0", first, "memory-backend-ram"),
                backend("m1", second, kind))


def refuse(guest, *args):
    """A snapshot that is refused; the VM runs on. Its error object."""
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    lab.firn("init", repo)
    done = lab.firn("--repo", repo, "--json", "snapshot", "--qmp",
                    guest.qmp_path, *args, check=False)
    assert done.returncode == 1, done
    assert not lab.firn_json("--repo", repo, "--json", "list"), repo
    assert guest.status() == "running"
    return next(json.loads(line) for line in done.stdout.splitlines()
                if line.startswith("{"))


def running_in_blocks(extra, **kwargs):
    """Right all the same: in background, by itself."""
    taken = capture("10.0", kernel_args=HOT, extra=extra, **kwargs)
    assert taken.told["mode"] == "background", taken.told
    comes_back(taken)


def test_a_running_guest_whose_memory_does_not_begin_at_0():
    """A backend that nobody uses, made first: a stream by 10.0 would be wrong
    at the hot pages, each time."""
    running_in_blocks(
        [*backend("spare", "256M", "memory-backend-ram"),
         *backend("pc.ram", "256M", "memory-backend-ram")],
        machine="pc,memory-backend=pc.ram")


def test_a_running_guest_with_a_larger_second_node():
    """A stream would end QEMU 10.0 by an assertion."""
    running_in_blocks(two_blocks("64M", "192M"))


def test_a_stream_of_a_running_guest_with_two_nodes_is_refused():
    with lab.Guest("10.0", name="vm", kernel_args=KERNEL,
                   extra=two_blocks("64M", "192M")) as guest:
        guest.wait_heartbeat(1)
        error = refuse(guest, "--mode", "stream")
        assert "several backends" in error["message"], error
        assert "pause the VM" in error["hint"], error
        guest.heartbeat_advances()
        found = lab.firn("doctor", "--qmp", guest.qmp_path, check=False)
        assert "auto takes mode background" in found.stdout, found


def test_two_numa_nodes():
    for version in VERSIONS:
        taken = capture(version, extra=two_blocks(
            "128M", "128M", "memory-backend-memfd,share=on"))
        comes_back(taken)


def test_unequal_page_sizes():
    with huge_pages(80):
        for version in VERSIONS:
            taken = capture(version, extra=numa(
                backend("m0", "128M", "memory-backend-ram"),
                backend("m1", "128M")))
            comes_back(taken)


# Memory that was plugged in: the recorded command line does not know it.


def plug(guest, kind="memory-backend-ram", **properties):
    guest.qmp("object-add", qom_type=kind, id="mem1", size=128 << 20,
              **properties)
    guest.qmp("device_add", driver="pc-dimm", id="dimm1", memdev="mem1")


def test_plugged_memory_is_plugged_in_again():
    for version in VERSIONS:
        taken = capture(version, prepare=plug,
                      extra=["-m", "256,slots=2,maxmem=1G"])
        comes_back(taken)


def test_plugged_memory_on_huge_pages():
    with huge_pages(80):
        taken = capture("10.0",
                      prepare=lambda g: plug(g, "memory-backend-memfd",
                                             hugetlb=True,
                                             hugetlbsize=2 << 20),
                      extra=["-m", "256,slots=2,maxmem=1G"])
        comes_back(taken)


def test_a_plugged_device_is_refused_with_the_remedy():
    taken = capture("10.0", prepare=lambda g: g.qmp(
        "device_add", driver="virtio-rng-pci", id="rng1"))
    error = taken.refuse(21)
    assert "1af4:1005" in error["message"], error
    assert not is_qemu_of(taken.guest)
    # The command line that has it.
    at = error["message"].split(" at ")[1].split(".")[0]
    comes_back(taken, *taken.command(extra=[
        "-device", f"virtio-rng-pci,id=rng1,addr=0x{at}"]))


def test_virtio_mem_is_refused_at_the_capture():
    repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
    lab.firn("init", repo)
    with lab.Guest("10.0", name="vm", kernel_args=KERNEL, extra=[
            "-m", "256,maxmem=1G",
            *backend("vm0", "256M", "memory-backend-ram"),
            "-device", "virtio-mem-pci,id=vm0d,memdev=vm0,"
                       "requested-size=128M"]) as guest:
        guest.wait_heartbeat(1)
        done = lab.firn("--repo", repo, "snapshot", "--qmp", guest.qmp_path,
                        check=False)
        assert done.returncode == 21, done
        assert "virtio-mem" in done.stderr, done
        guest.heartbeat_advances()
        guest.assert_good()


lab.main(globals())
