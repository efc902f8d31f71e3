"""The lab: real QEMUs with guests that prove their memory, for the tests.

    import lab

    with lab.Guest("10.0", mem=256, kernel_args="firn.mb=64") as guest:
        guest.wait_heartbeat()
        lab.firn("snapshot", "create", ...)
        guest.assert_good()

Everything lives in directories from tmpdir(), which are removed at exit, and
every process started (or attached to) here is killed at exit, on SIGTERM and
SIGINT too. Whatever waits has a deadline and ends in Timeout.

A test file ends with `lab.main(globals())`: runs its functions test_*, in
order; exit status 77 if one said Skip and none failed. README.md has the
guest's parameters and commands.
"""
import array
import atexit
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
)
LAB = os.path.abspath(
    os.path.join(ROOT, os.environ.get("FIRN_LAB") or "build/lab")
)
POLL_S = 0.02
KERNEL_ARGS = (
    "console=ttyS0 quiet panic=-1 cryptomgr.notests rodata=off"
    " mitigations=off no_timer_check noreplace-smp ipv6.disable=1"
)
# Machine types both versions know, for streams that go from one to the other.
COMMON_MACHINE = "pc-i440fx-7.2"


class Skip(Exception):
    """The test cannot be run here; the text says what is missing."""


class Timeout(AssertionError):
    """Something did not come in time."""


class QmpError(Exception):
    """QEMU refused a command. `cls` is its error class."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error.get('desc')}")
        self.cls = error.get("class")
        self.desc = error.get("desc")


# Deadlines, directories, processes.


def wait_until(condition, timeout, what):
    """Polls until condition() is true; returns what it returned."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Timeout(f"no {what} within {timeout} s")
        time.sleep(POLL_S)


_dirs = []
_processes = []
_pids = {}


def tmpdir(prefix="firn-"):
    """A fresh directory, removed at exit. Under FIRN_TEST_DIR or /dev/shm."""
    base = os.environ.get("FIRN_TEST_DIR") or "/dev/shm"
    path = tempfile.mkdtemp(prefix=prefix, dir=base)
    _dirs.append(path)
    return path


def start(argv, **kwargs):
    """Popen that is killed at exit."""
    process = subprocess.Popen(argv, **kwargs)
    _processes.append(process)
    return process


def _cmdline(pid):
    """The argument list; [] if it is gone, or dead and not reaped."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return [a for a in f.read().split(b"\0") if a]
    except OSError:
        return []


def _start_time(pid):
    """Field 22 of stat, or None; with the pid it names a process for good."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _kill_pid(pid, started=None):
    if started and _start_time(pid) != started:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def cleanup():
    """Kills what was started and removes the directories. Runs at exit."""
    for process in _processes:
        if process.poll() is None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
    _processes.clear()
    for pid, started in _pids.items():
        _kill_pid(pid, started)
    _pids.clear()
    # A QEMU started by the tool under test that nobody attached to: its
    # command line names our directory.
    marks = [os.fsencode(d + "/") for d in _dirs]
    for pid in filter(str.isdigit, os.listdir("/proc") if marks else []):
        argv = _cmdline(pid)
        if not argv or b"qemu-system" not in os.path.basename(argv[0]):
            continue
        if any(mark in arg for arg in argv for mark in marks):
            _kill_pid(int(pid))
    if os.environ.get("FIRN_TEST_KEEP"):
        print("kept:", *_dirs, file=sys.stderr)
    else:
        for path in _dirs:
            shutil.rmtree(path, ignore_errors=True)
    _dirs.clear()


atexit.register(cleanup)
# Not ignored, even if they are in a script's background job: programs started
# here would ignore them as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _sig in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_sig, lambda number, frame: sys.exit(128 + number))


# QEMU.


def qemu(version):
    """[binary, -L...] of "7.2" or "10.0"; Skip if it is not there."""
    if version == "7.2":
        argv = [shutil.which("qemu-system-x86_64") or ""]
        want = "7.2."
    elif version == "10.0":
        base = f"{LAB}/qemu10/usr"
        argv = [f"{base}/bin/qemu-system-x86_64", "-L", f"{base}/share/qemu",
                "-L", "/usr/share/seabios"]
        want = "10.0."
    else:
        raise ValueError(version)
    if not os.access(argv[0], os.X_OK):
        raise Skip(f"no QEMU {version}; run scripts/lab")
    if argv[0] not in _versions:
        text = subprocess.run([argv[0], "--version"], capture_output=True,
                              text=True, timeout=20).stdout
        _versions[argv[0]] = text.partition(" version ")[2].split(" ")[0]
    if not _versions[argv[0]].startswith(want):
        raise Skip(f"{argv[0]} is {_versions[argv[0]] or 'broken'},"
                   f" not {version}")
    return argv


_versions = {}


class Qmp:
    """A QMP client. Events that arrive are kept in `events`, a list."""

    def __init__(self, path, timeout=10):
        """Connects, retrying until the socket accepts; negotiates."""
        self.events = []
        self._buffer = b""
        self._timeout = timeout
        self._sock = connect(path, timeout)
        self.greeting = self._receive(time.monotonic() + timeout)
        self.execute("qmp_capabilities")

    def close(self):
        self._sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    @property
    def version(self):
        """(major, minor, micro) as the greeting says."""
        v = self.greeting["QMP"]["version"]["qemu"]
        return v["major"], v["minor"], v["micro"]

    def execute(self, command, fds=(), timeout=None, **arguments):
        """Returns the command's "return"; raises QmpError. `fds` go along as
        SCM_RIGHTS (getfd, add-fd). In the names of arguments '_' stands for
        '-': execute("migrate-set-parameters", max_bandwidth=0)."""
        message = {"execute": command}
        if arguments:
            message["arguments"] = {
                k.replace("_", "-"): v for k, v in arguments.items()
            }
        self.send(message, fds)
        deadline = time.monotonic() + (timeout or self._timeout)
        while True:
            reply = self._receive(deadline)
            if "event" in reply:
                self.events.append(reply)
            elif "error" in reply:
                raise QmpError(command, reply["error"])
            else:
                return reply["return"]

    def send(self, message, fds=()):
        data = json.dumps(message).encode() + b"\n"
        if fds:
            rights = array.array("i", fds)
            self._sock.sendmsg(
                [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        else:
            self._sock.sendall(data)

    def wait_event(self, name, timeout=10, **data):
        """The first event of that name whose data has the given values, from
        those kept or the next to come; it is taken out of `events` with all
        before it."""
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            for i in range(seen, len(self.events)):
                event = self.events[i]
                if event["event"] == name and all(
                        event.get("data", {}).get(k) == v
                        for k, v in data.items()):
                    del self.events[: i + 1]
                    return event
            seen = len(self.events)
            try:
                message = self._receive(deadline)
            except Timeout:
                raise Timeout(
                    f"no event {name} {data} within {timeout} s") from None
            if "event" in message:
                self.events.append(message)

    def poll_events(self):
        """Takes in what has arrived; returns `events`."""
        with contextlib.suppress(Timeout):
            while True:
                message = self._receive(time.monotonic())
                if "event" in message:
                    self.events.append(message)
        return self.events

    def set_capabilities(self, **states):
        """migrate-set-capabilities, e.g. return_path=True."""
        self.execute("migrate-set-capabilities", capabilities=[
            {"capability": k.replace("_", "-"), "state": v}
            for k, v in states.items()])

    def _receive(self, deadline):
        while b"\n" not in self._buffer:
            self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._sock.recv(65536)
            except socket.timeout:
                raise Timeout("no answer from QMP in time") from None
            if not data:
                raise ConnectionError("QMP closed: QEMU is gone")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        self._sock.settimeout(self._timeout)
        return json.loads(line)


def connect(path, timeout=10):
    """A stream connection to a unix socket that may not be there yet."""
    deadline = time.monotonic() + timeout
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(path)
            return sock
        except (FileNotFoundError, ConnectionRefusedError) as error:
            sock.close()
            if time.monotonic() >= deadline:
                raise Timeout(f"cannot connect to {path}: {error}") from None
            time.sleep(POLL_S)


_HEARTBEAT = re.compile(
    r"^HB (\d+) t=(\d+) writes=(\d+) pass=(\d+) bad=(\d+)\r?\n", re.M)


class Heartbeat:
    """One line HB: n, t_ms (the guest's monotonic clock), writes, passes of
    the verifier, bad pages found so far."""

    def __init__(self, numbers):
        self.n, self.t_ms, self.writes, self.passes, self.bad = numbers

    def __repr__(self):
        return (f"HB {self.n} t={self.t_ms} writes={self.writes}"
                f" pass={self.passes} bad={self.bad}")


class Guest:
    """A VM with the guest program. Its directory `dir` holds
      qmp.sock     QMP for the tool under test
      test.sock    QMP for the test (self.qmp)
      serial.log   first serial port, appended to: also by a VM restored later
      control.sock second serial port, commands
      stderr.log   of QEMU
      guest.json   what attach() needs
    """

    def __init__(self, version="10.0", mem=256, machine="pc", kernel_args="",
                 extra=(), paused=False, uuid=None, name=None, dir=None,
                 kernel=True, start=True):
        """Starts it, unless start=False: then `command` is there to be
        changed, and launch() starts it. kernel=False: no kernel, the BIOS
        finds nothing to boot. incoming and the like go into extra."""
        self.version = version
        self.mem = mem
        self.dir = dir or tmpdir("firn-guest-")
        self.process = None
        self.pid = None
        self._qmp = None
        self._control = None
        self._control_buffer = b""
        self._paths()
        argv = qemu(version) + [
            "-machine", machine, "-accel", "tcg", "-smp", "1", "-m", str(mem),
            "-nodefaults", "-display", "none", "-no-reboot",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-qmp", f"unix:{self.test_path},server=on,wait=off",
            "-chardev", f"file,id=serial0,path={self.serial_path},append=on",
            "-serial", "chardev:serial0",
            "-chardev", f"socket,id=serial1,path={self.control_path},"
                        "server=on,wait=off",
            "-serial", "chardev:serial1",
        ]
        if name:
            argv += ["-name", name]
        if uuid:
            argv += ["-uuid", uuid]
        if kernel:
            for file in ("vmlinux", "initrd.gz"):
                if not os.path.exists(f"{LAB}/{file}"):
                    raise Skip(f"no {LAB}/{file}; run scripts/lab")
            argv += ["-kernel", f"{LAB}/vmlinux",
                     "-initrd", f"{LAB}/initrd.gz",
                     "-append", f"{KERNEL_ARGS} {kernel_args}".strip()]
        if paused:
            argv += ["-S"]
        self.command = argv + list(extra)
        if start:
            self.launch()

    def _paths(self):
        self.qmp_path = f"{self.dir}/qmp.sock"
        self.test_path = f"{self.dir}/test.sock"
        self.serial_path = f"{self.dir}/serial.log"
        self.control_path = f"{self.dir}/control.sock"
        self.stderr_path = f"{self.dir}/stderr.log"
        if len(os.fsencode(self.control_path)) > 104:
            raise Skip(f"{self.dir} is too long a path for unix sockets;"
                       " set FIRN_TEST_DIR")

    def launch(self, extra=(), pass_fds=()):
        """Starts the VM (anew, after kill()), with `extra` once more."""
        assert self.pid is None, "already running"
        with open(f"{self.dir}/guest.json", "w") as f:
            json.dump({"version": self.version, "mem": self.mem,
                       "command": self.command}, f)
        with open(self.stderr_path, "ab") as stderr:
            self.process = start(
                self.command + list(extra), stdin=subprocess.DEVNULL,
                stdout=stderr, stderr=stderr, pass_fds=pass_fds)
        self.pid = self.process.pid
        try:
            # Up when QMP answers; a wrong option shows as a death before.
            wait_until(lambda: self.process.poll() is not None
                       or os.path.exists(self.test_path), 20, "QMP socket")
            if self.process.poll() is not None:
                raise AssertionError(
                    f"QEMU died at start: {self.stderr()}\n"
                    + shlex.join(self.command))
            self.qmp("query-status")
        except BaseException:
            self.kill()
            raise

    @classmethod
    def attach(cls, dir, timeout=20):
        """The object for a VM that somebody else started with the command of
        the Guest that lived in `dir` (a restore replays it). Waits until its
        QMP answers; kill() and the end of the test kill it."""
        self = cls.__new__(cls)
        with open(f"{dir}/guest.json") as f:
            known = json.load(f)
        self.version = known["version"]
        self.mem = known["mem"]
        self.command = known["command"]
        self.dir = dir
        self.process = None
        self._control = None
        self._control_buffer = b""
        self._paths()
        self._qmp = Qmp(self.test_path, timeout)
        peer = self._qmp._sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid = int.from_bytes(peer[:4], sys.byteorder)
        _pids[self.pid] = _start_time(self.pid)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0] is not None and exc[0] is not Skip:
            print(f"guest {self.dir}:\n{self.stderr()}"
                  f"{self.serial()[-2000:]}", file=sys.stderr)
        self.kill()

    def kill(self, timeout=10):
        """SIGKILL, waited for. Harmless if it is gone."""
        for sock in (self._qmp, self._control):
            if sock is not None:
                sock.close()
        self._qmp = self._control = None
        self._control_buffer = b""
        if self.pid is None:
            return
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout)
        else:
            started = _pids.pop(self.pid, None)
            _kill_pid(self.pid, started)
            wait_until(lambda: not self._lives(started), timeout,
                       f"death of QEMU {self.pid}")
        self.process = self.pid = None
        # A QEMU killed leaves its sockets; the next one's are then told from
        # them by being there.
        for path in (self.qmp_path, self.test_path, self.control_path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _lives(self, started):
        if _start_time(self.pid) != started:
            return False
        with open(f"/proc/{self.pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"

    def alive(self):
        if self.process is not None:
            return self.process.poll() is None
        return self.pid is not None and self._lives(_pids.get(self.pid))

    # QMP, on the test's own socket.

    def qmp(self, command, **arguments):
        return self.monitor.execute(command, **arguments)

    @property
    def monitor(self):
        """The Qmp of this test, connected at first use."""
        if self._qmp is None:
            self._qmp = Qmp(self.test_path)
        return self._qmp

    def status(self):
        """QEMU's run state: "running", "paused", "postmigrate" …"""
        return self.qmp("query-status")["status"]

    def wait_status(self, *wanted, timeout=20):
        return wait_until(lambda: self.status() in wanted, timeout,
                          f"run state {wanted}")

    def stop(self):
        self.qmp("stop")

    def cont(self, timeout=2):
        """Also right after a migration, when QEMU may still refuse it."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.qmp("cont")
            except QmpError as error:
                if ("not finalized" not in error.desc
                        or time.monotonic() > deadline):
                    raise
            time.sleep(POLL_S)

    # The first serial port.

    def serial(self, since=0):
        """What the guest has printed, from that byte offset on."""
        try:
            with open(self.serial_path, "rb") as f:
                f.seek(since)
                return f.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def serial_size(self):
        """Mark for `since`."""
        try:
            return os.path.getsize(self.serial_path)
        except FileNotFoundError:
            return 0

    def stderr(self):
        try:
            with open(self.stderr_path, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def heartbeats(self, since=0):
        """All heartbeats in the file, oldest first."""
        return [Heartbeat(map(int, m.groups()))
                for m in _HEARTBEAT.finditer(self.serial(since))]

    def wait_heartbeat(self, n=1, timeout=60, since=0):
        """Waits for a heartbeat numbered n or above; returns it."""
        def last():
            assert self.pid is None or self.alive(), (
                f"QEMU died: {self.stderr()}")
            beats = self.heartbeats(since)
            return beats[-1] if beats and beats[-1].n >= n else None
        return wait_until(last, timeout, f"heartbeat {n} in {self.dir}")

    def heartbeat_advances(self, timeout=20, beats=2):
        """Waits for that many heartbeats from this moment on; returns the
        last one."""
        mark = self.serial_size()
        def enough():
            new = self.heartbeats(mark)
            return new[-1] if len(new) >= beats else None
        return wait_until(enough, timeout, f"new heartbeat in {self.dir}")

    def bad_lines(self, since=0):
        """What the guest said about wrong pages."""
        return re.findall(r"^BAD .*$", self.serial(since), re.M)

    # The second serial port.

    def cmd(self, line, timeout=60):
        """Sends a command; returns the answer's line."""
        if self._control is None:
            self._control = connect(self.control_path)
        self._control.settimeout(timeout)
        self._control.sendall(line.encode() + b"\n")
        deadline = time.monotonic() + timeout
        while b"\n" not in self._control_buffer:
            self._control.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._control.recv(4096)
            except socket.timeout:
                raise Timeout(f"no answer to {line!r} within {timeout} s"
                              f" in {self.dir}") from None
            if not data:
                raise ConnectionError("the guest's port closed")
            self._control_buffer += data
        text, _, self._control_buffer = self._control_buffer.partition(b"\n")
        return text.decode().strip()

    def _numbers(self, line, timeout):
        reply = self.cmd(line, timeout)
        return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", reply)}

    def verify(self, timeout=120):
        """Has every page checked now: {"pages", "bad", "gen_sum"}."""
        return self._numbers("verify", timeout)

    def state(self, timeout=20):
        """{"pages", "writes", "pass", "bad"}; bad counts from the start."""
        return self._numbers("state", timeout)

    def idle(self):
        """Stops all writing."""
        assert self.cmd("idle") == "OK idle"

    def busy(self):
        assert self.cmd("busy") == "OK busy"

    def assert_good(self, timeout=120):
        """All pages right now, and never a wrong one before."""
        found = self.verify(timeout)
        assert found["bad"] == 0, (found, self.bad_lines())
        state = self.state()
        assert state["bad"] == 0, (state, self.bad_lines())
        return found


# The tool under test.


def firn_path():
    """The firn binary: FIRN, or build/cli/firn. Skip if it is not there."""
    path = os.environ.get("FIRN") or f"{ROOT}/build/cli/firn"
    if not os.access(path, os.X_OK):
        raise Skip(f"no {path}; build it or set FIRN")
    return os.path.abspath(path)


def firn(*args, timeout=120, env=None, check=True, **kwargs):
    """Runs firn; CompletedProcess with text. A status other than 0 fails the
    test unless check=False."""
    argv = [firn_path(), *map(str, args)]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout,
            stdin=kwargs.pop("stdin", subprocess.DEVNULL),
            env={**os.environ, **(env or {})}, **kwargs)
    except subprocess.TimeoutExpired as late:
        def text(data):
            return data.decode("utf-8", "replace") if data else ""
        raise Timeout(f"{shlex.join(argv)}: not done in {timeout} s\n"
                      f"{text(late.stdout)}{text(late.stderr)}") from None
    if check and done.returncode != 0:
        raise AssertionError(
            f"{shlex.join(argv)}: status {done.returncode}\n"
            f"{done.stdout}{done.stderr}")
    return done


def firn_json(*args, **kwargs):
    """Runs firn and parses each line of its output as JSON: a list."""
    return [json.loads(line)
            for line in firn(*args, **kwargs).stdout.splitlines()
            if line.strip()]


def firn_start(*args, env=None, **kwargs):
    """Starts firn and returns the Popen (text pipes), killed at exit."""
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.PIPE)
    return start([firn_path(), *map(str, args)], text=True,
                 stdin=subprocess.DEVNULL,
                 env={**os.environ, **(env or {})}, **kwargs)


# Running a test file.


def main(names):
    """Runs the functions test_* among `names`, or those named on the command
    line, and exits: 0, 1 if one failed, 77 if some were skipped and none
    failed."""
    wanted = sys.argv[1:]
    tests = [f for n, f in names.items()
             if n.startswith("test_") and (not wanted or n in wanted)]
    if not tests or len(tests) < len(wanted):
        sys.exit(f"no such test among: {wanted}")
    failed = skipped = 0
    for test in tests:
        begun = time.monotonic()
        try:
            test()
            verdict = "ok"
        except Skip as why:
            skipped += 1
            verdict = f"skip: {why}"
        except Exception:
            failed += 1
            traceback.print_exc()
            verdict = "FAILED"
        print(f"{test.__name__}: {verdict}"
              f" ({time.monotonic() - begun:.1f} s)", flush=True)
    sys.exit(1 if failed else 77 if skipped else 0)
