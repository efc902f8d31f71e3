"""How a saved VM comes back: QEMU's own ways, and firn.

Images holds one image of each kind in a folder. A restorer starts the VM from
its image and returns (time of the start, a Restored)."""
import contextlib
import json
import os
import shutil
import subprocess
import threading
import time

import measure
from savers import (Refused, limits, new_repository, save_file, save_mapped,
                    save_savevm, save_zstd)
from vm import Vm, lab

# Peers whose image is the file that this saver leaves.
SAVED = {"file": save_file, "zstd": save_zstd, "mapped": save_mapped,
         "loadvm": save_savevm}
FIRN = {
    "firn": (),
    "firn-hints": (),
    "firn-head": ("--head-start", "250ms"),
    "firn-off": ("--prefetch", "off"),
    "firn-eager": ("--eager",),
}
WHAT = {
    "firn": "firn, first time",
    "firn-hints": "firn, second time",
    "firn-head": "firn, second time, head start 250 ms",
    "firn-off": "firn, second time, no prefetch",
    "firn-eager": "firn, eager",
    "private": "private map of a plain file",
    "file": "QEMU, file:",
    "zstd": "QEMU, exec:zstd -dc",
    "mapped": "QEMU, mapped-ram, multifd 2",
    "loadvm": "QEMU, loadvm",
}


def firn_pids():
    """Of the firn under test, whoever runs it."""
    wanted = os.path.realpath(lab.firn_path())
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/exe") == wanted:
                yield int(pid)


class FirnRestore:
    """A `firn restore` at work. peak_mib: its largest process."""

    def __init__(self, repo, options=(), qemu=(), program=None):
        command = [program or lab.firn_path(), "--repo", repo, "--json", "restore",
                   "latest", *options]
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            command + (["--", *qemu] if qemu else []), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self.said = {}
        self.peak_mib = 0.0
        self.done_at = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            told = json.loads(line)
            self.said[told.get("type")] = told
        self.done_at = time.monotonic()

    def _watch(self):
        while self.process.poll() is None:
            for pid in firn_pids():
                with contextlib.suppress(OSError, ValueError):
                    self.peak_mib = max(self.peak_mib, measure.peak_mib(pid))
            time.sleep(0.05)

    def wait(self, timeout=300):
        """Until all pages are there. Refused: not with these options."""
        status = self.process.wait(timeout)
        self._reader.join()
        if not self.process.stderr.closed:
            self.errors = self.process.stderr.read()
            self.process.stderr.close()
        errors = self.errors
        if status == 2:
            raise Refused(errors.strip() or str(self.said.get("error")))
        assert status == 0, (status, errors, self.said)


class Images:
    """One image of each kind, of a guest that is booted and killed here."""

    def __init__(self, vm, folder, peers, disk=True):
        self.vm = vm
        self.folder = folder
        self.repo = f"{folder}/repo"
        if any(p in FIRN for p in peers):
            new_repository(folder)
            lab.firn("--repo", self.repo, "snapshot", "--qmp", vm.qmp_path)
        context = {"downtime_limit": 300, "begin": lambda: None,
                   "end": lambda: None}
        for peer in SAVED:
            if peer in peers:
                os.mkdir(f"{folder}/{peer}")
                SAVED[peer](vm, f"{folder}/{peer}", context)
        vm.kill()
        if "private" in peers:
            self._plain_memory(context)

    def _plain_memory(self, context):
        """RAM as a plain file beside the rest of the state: from a guest whose
        RAM is a file, since only of such a one does QEMU leave it out."""
        ram = f"{self.vm.dir}/ram"
        to = f"{self.folder}/private"
        os.mkdir(to)
        other = Vm(self.vm.mib, self.vm.fill_mib,
                   memory=f"memory-backend-file,id=pc.ram,share=on,"
                          f"size={self.vm.mib}M,mem-path={ram}")
        try:
            other.boot()
            other.prepare("x-ignore-shared", **limits(context))
            other.qmp("migrate", uri=f"file:{to}/image")
            other.wait_migration()
            # Holes where it is zero, so that it takes what the others take.
            subprocess.run(["cp", "--sparse=always", ram, f"{to}/ram"],
                           check=True)
        finally:
            other.close()
            os.unlink(ram)

    def of(self, peer):
        """The file or folder that holds it."""
        return self.repo if peer in FIRN else f"{self.folder}/{peer}"

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget_hints(self):
        for name in measure.files_below(f"{self.repo}/hints"):
            if os.path.isfile(name):
                os.unlink(name)

    # Restorers. Each returns the time at which it started.

    def start(self, peer):
        image = f"{self.of(peer)}/image"
        vm = self.vm
        if peer == "file":
            return vm.start(vm.command + ["-incoming", f"file:{image}"])
        if peer == "zstd":
            return vm.start(vm.command + [
                "-incoming", f"exec:zstd -q -dc {image}"])
        if peer == "loadvm":
            return vm.start(vm.command + [
                "-blockdev", "driver=qcow2,node-name=vmstate,"
                             f"file.driver=file,file.filename={image}",
                "-loadvm", "bench"])
        if peer == "mapped":
            begin = vm.start(vm.command + ["-incoming", "defer"])
            vm.connect()
            vm.prepare("mapped-ram", "multifd", multifd_channels=2)
        elif peer == "private":
            ram = f"{self.of(peer)}/ram"
            begin = vm.start(vm.argv(
                memory="memory-backend-file,id=pc.ram,share=off,"
                       f"size={vm.mib}M,mem-path={ram}")
                + ["-incoming", "defer"])
            vm.connect()
            vm.prepare("x-ignore-shared")
        else:
            raise ValueError(peer)
        vm.qmp("migrate-incoming", uri=f"file:{image}")
        return begin

    def start_firn(self, peer):
        # The monitor that we look for afterwards is the new QEMU's.
        for path in (self.vm.qmp_path, self.vm.test_path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return FirnRestore(self.repo, FIRN[peer])
