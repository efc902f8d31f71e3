"""What tests of restores share: a captured guest, firn's processes, figures."""
import contextlib
import copy
import ctypes
import json
import os
import shutil
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402

KERNEL = "firn.mb=64 firn.rate=2000"


def runtime_env():
    """A runtime folder of this test's own, so that what is left shows."""
    folder = lab.tmpdir("firn-run-")
    os.chmod(folder, 0o700)
    return {"XDG_RUNTIME_DIR": folder}


class Taken:
    """A guest that was captured and killed."""

    def __init__(self, version="10.0", paused=False, prepare=None, **kwargs):
        self.env = runtime_env()
        self.repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
        lab.firn("init", self.repo)
        kwargs.setdefault("kernel_args", KERNEL)
        with lab.Guest(version, name="vm", **kwargs) as guest:
            guest.wait_heartbeat(3)
            if prepare:
                prepare(guest)
            if paused:
                guest.stop()
            self.told = lab.firn_json("--repo", self.repo, "--json",
                                      "snapshot", "--qmp",
                                      guest.qmp_path)[-1]
            self.id = self.told["id"]
            guest.kill()
        self.guest = guest
        self.mark = guest.serial_size()

    def fresh(self):
        """The same with a repository and a runtime folder of its own."""
        other = copy.copy(self)
        other.env = runtime_env()
        other.repo = os.path.join(lab.tmpdir("firn-repo-"), "r")
        shutil.copytree(self.repo, other.repo)
        other.mark = self.guest.serial_size()
        return other

    def argv(self, *args):
        return ("--repo", self.repo, "--json", "restore", self.id, *args)

    def restore(self, *args):
        """The objects by type."""
        lines = lab.firn_json(*self.argv(*args), env=self.env, timeout=60)
        return {line["type"]: line for line in lines}

    def refuse(self, status, *args):
        """A restore that must fail so; its error object."""
        done = lab.firn(*self.argv(*args), env=self.env, check=False,
                        timeout=60)
        assert done.returncode == status, (done.returncode, done.stdout,
                                           done.stderr)
        text = (done.stdout + done.stderr).splitlines()
        errors = [json.loads(line) for line in text
                  if line.startswith("{") and '"error"' in line]
        assert len(errors) == 1, text
        return errors[0]

    def start(self, *args):
        return lab.firn_start(*self.argv(*args), env=self.env)

    @contextlib.contextmanager
    def back(self):
        """The VM that runs again."""
        guest = lab.Guest.attach(self.guest.dir)
        try:
            yield guest
        finally:
            guest.kill()

    def runtime_files(self, suffix):
        folder = self.env["XDG_RUNTIME_DIR"] + "/firn"
        return [n for n in os.listdir(folder) if n.endswith(suffix)]

    def leases(self):
        return os.listdir(self.repo + "/locks")

    def command(self, *replacements, **changed):
        """QEMU's command line with words replaced: ("-m", "512"), ..."""
        argv = list(self.guest.command)
        for option, value in replacements:
            argv[argv.index(option) + 1] = value
        return ["--", *argv, *changed.get("extra", [])]

    def expect_good(self, guest, migrated=True):
        guest.wait_heartbeat(1, since=self.mark)
        guest.assert_good()
        if migrated:
            status = guest.qmp("query-migrate")
            assert status["status"] == "completed", status

    # Processes of the restore that is under way.

    def state(self):
        """The state file's content."""
        folder = self.env["XDG_RUNTIME_DIR"] + "/firn"
        for name in self.runtime_files(".json"):
            with open(f"{folder}/{name}") as f:
                return json.load(f)
        return None

    def process(self, role):
        """Pid of "keeper", "pager" or "qemu", by the state file; 0 if it is
        gone."""
        state = self.state() or {}
        pid = state.get(f"{role}_pid", 0)
        return pid if pid and alive(pid) else 0

    def wait_process(self, role, other_than=()):
        def find():
            pid = self.process(role)
            return pid if pid and pid not in other_than else None
        return lab.wait_until(find, 30, role)


_shared = {}


def shared(version="10.0"):
    """An ordinary capture, taken once: most tests need no more."""
    if version not in _shared:
        _shared[version] = Taken(version)
    return _shared[version].fresh()


def alive(pid):
    """Neither gone nor a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_qemu_of(guest):
    """A QEMU that names the guest's folder runs."""
    mark = os.fsencode(guest.dir + "/")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        argv = lab._cmdline(pid)
        if argv and b"qemu" in argv[0] and any(mark in a for a in argv):
            return True
    return False


def pagers_of(snapshot):
    """Pids of the pagers that serve this snapshot."""
    word = snapshot.encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        argv = lab._cmdline(pid)
        if len(argv) > 1 and argv[0].endswith(b"firn") and word in argv \
                and argv[1] == b"pager":
            found.append(int(pid))
    return found


def pager_of(snapshot):
    """The pager that serves this snapshot; waits for it."""
    return lab.wait_until(lambda: pagers_of(snapshot), 10, "pager")[0]


def break_sockets(pid):
    """Shuts the sockets of another process down, as if they had been closed;
    False if the kernel does not let us."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    broken = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                continue
        except FileNotFoundError:  # It ended of the first one.
            continue
        # The link to the keeper is the first of the two arguments.
        if name == lab._cmdline(str(pid))[2].decode():
            continue
        fd = libc.syscall(438, pidfd, int(name), 0)  # pidfd_getfd
        if fd < 0:
            continue
        with socket.socket(fileno=fd) as sock:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
                broken += 1
    os.close(pidfd)
    return broken > 0


def wait_completed(guest, timeout=60):
    lab.wait_until(
        lambda: guest.qmp("query-migrate")["status"] == "completed", timeout,
        "end of the migration")


def pack_paths(repo):
    found = []
    for folder, _, names in os.walk(repo + "/packs"):
        found += [os.path.join(folder, n) for n in names]
    return sorted(found, key=os.path.getsize, reverse=True)
