"""A benchmark's VM: bench/guest in QEMU 10.0, its heartbeats, its monitor."""
import contextlib
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lab"))

import lab  # noqa: E402
from beats import Beats  # noqa: E402

# Of the guest's RAM: the region with the page mix.
FILLED = 0.75
CAPABILITIES = (
    "events", "return-path", "background-snapshot", "xbzrle", "multifd",
    "postcopy-ram", "postcopy-preempt", "postcopy-blocktime",
    "x-ignore-shared", "mapped-ram", "auto-converge", "release-ram",
    "pause-before-switchover", "late-block-activate",
)


def folder(base):
    """A fresh folder for images below `base`, removed at exit."""
    os.environ["FIRN_TEST_DIR"], before = base, os.environ.get("FIRN_TEST_DIR")
    try:
        return lab.tmpdir("firn-bench-")
    finally:
        if before is None:
            del os.environ["FIRN_TEST_DIR"]
        else:
            os.environ["FIRN_TEST_DIR"] = before


def initrd():
    path = f"{lab.LAB}/bench-initrd.gz"
    subprocess.run([f"{ROOT}/bench/guest/pack", path], check=True)
    return path


class Vm:
    """One guest and whatever QEMU runs it now. `dir` holds qmp.sock (for the
    tool under test), test.sock (ours), beats.sock and the boot's log.

    memory: None for anonymous RAM; else the object, of id pc.ram."""

    def __init__(self, mib, fill_mib=None, rate=20, memory=None):
        self.mib = mib
        self.fill_mib = fill_mib or int(mib * FILLED)
        self.dir = lab.tmpdir("firn-vm-")
        self.qmp_path = f"{self.dir}/qmp.sock"
        self.test_path = f"{self.dir}/test.sock"
        self.beats = Beats(f"{self.dir}/beats.sock")
        self.monitor = None
        self.process = None
        self.command = self.argv(memory, rate)

    def argv(self, memory=None, rate=20):
        """The command line with this or that memory; all else as it is."""
        machine = ["-machine", "pc"]
        if memory:
            machine = ["-object", memory, "-machine",
                       "pc,memory-backend=pc.ram"]
        return lab.qemu("10.0") + machine + [
            "-accel", "tcg", "-smp", "1", "-m", f"{self.mib}M",
            "-name", f"bench{self.mib}",
            "-nodefaults", "-display", "none", "-no-reboot",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-qmp", f"unix:{self.test_path},server=on,wait=off",
            "-serial", f"file:{self.dir}/boot.log",
            "-chardev", f"socket,id=beats,path={self.dir}/beats.sock",
            "-serial", "chardev:beats",
            "-kernel", f"{lab.LAB}/vmlinux", "-initrd", initrd(),
            "-append", f"{lab.KERNEL_ARGS} bench.mb={self.fill_mib}"
                       f" bench.rate={rate}"]

    def start(self, argv=None):
        """Starts QEMU; returns the time of its start."""
        for path in (self.qmp_path, self.test_path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with open(f"{self.dir}/qemu.log", "ab") as log:
            begin = time.monotonic()
            self.process = lab.start(argv or self.command, stdout=log,
                                     stderr=log, stdin=subprocess.DEVNULL)
        return begin

    def boot(self):
        """Starts it and waits until its memory is filled: what the guest said
        of it."""
        begin = self.start()
        _, said = self.beats.wait_line("FILLED", begin, 120)
        self.beats.wait_beat(begin)
        self.connect()
        return said

    def wait_beat(self, after, timeout=60):
        """The first heartbeat after that time; AssertionError if QEMU ends."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.beats.wait_beat(after, 0.5)
            except TimeoutError:
                ended = self.process and self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    with open(f"{self.dir}/qemu.log") as f:
                        raise AssertionError(
                            f"no heartbeat: {f.read()}") from None

    def connect(self, timeout=20):
        """Our monitor of whatever QEMU serves test.sock now."""
        self.disconnect()
        # lab's Qmp looks for the socket every 20 ms; here 1 ms matters.
        before, lab.POLL_S = lab.POLL_S, 0.001
        try:
            self.monitor = lab.Qmp(self.test_path, timeout)
        finally:
            lab.POLL_S = before
        return self.monitor

    def disconnect(self):
        if self.monitor:
            self.monitor.close()
        self.monitor = None

    def qmp(self, command, **arguments):
        return self.monitor.execute(command, timeout=300, **arguments)

    @property
    def pid(self):
        peer = self.monitor._sock.getsockopt(1, 17, 12)  # SO_PEERCRED
        return int.from_bytes(peer[:4], sys.byteorder)

    def vcpu(self):
        return self.qmp("query-cpus-fast")[0]["thread-id"]

    def kill(self):
        pid = self.pid if self.monitor else None
        self.disconnect()
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None
        elif pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
                while True:
                    os.kill(pid, 0)
                    time.sleep(0.005)

    def close(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def prepare(self, *wanted, **parameters):
        """All of QEMU's migration capabilities at once, none inherited."""
        known = {c["capability"]
                 for c in self.qmp("query-migrate-capabilities")}
        self.qmp("migrate-set-capabilities", capabilities=[
            {"capability": name, "state": name in ("events", *wanted)}
            for name in CAPABILITIES if name in known])
        if parameters:
            self.qmp("migrate-set-parameters", **parameters)
        self.monitor.poll_events()
        self.monitor.events.clear()

    def cont(self):
        """Also right after a migration, when QEMU may still refuse it."""
        deadline = time.monotonic() + 5
        while True:
            try:
                return self.qmp("cont")
            except lab.QmpError as error:
                if ("not finalized" not in error.desc
                        or time.monotonic() > deadline):
                    raise
            time.sleep(0.0005)

    def wait_migration(self, timeout=600):
        """Until a migration ends; AssertionError if not well."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.monitor.wait_event(
                "MIGRATION", max(deadline - time.monotonic(), 0.01))
            status = event["data"]["status"]
            if status == "completed":
                return
            assert status not in ("failed", "cancelled"), (
                self.qmp("query-migrate"))

    def migrate(self, uri):
        """Migrates to a file and lets the guest go on."""
        self.qmp("migrate", uri=uri)
        self.wait_migration()
        if self.qmp("query-status")["status"] != "running":
            self.cont()
