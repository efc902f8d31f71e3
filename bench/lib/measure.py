"""What things cost: processor seconds, peak memory, bytes, and the state in
which memory and caches are before a timed part."""
import mmap
import os
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")


class Done:
    """A command that ran: wall_s, cpu_s, peak_mib, status, out, err."""


def _watch_peak(process, done):
    """The kernel keeps the peak, so that the last look before the end tells it;
    wait4's would be ours, if we had held more than the child that we forked."""
    while process.returncode is None:
        try:
            done.peak_mib = peak_mib(process.pid)
        except (OSError, ValueError):
            return
        time.sleep(0.02)


def run(argv, timeout=600, env=None, on_thread=None):
    """Runs a command to its end."""
    done = Done()
    done.peak_mib = float("nan")
    begin = time.monotonic()
    process = subprocess.Popen(
        list(map(str, argv)), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(env or {})})
    texts = {}
    threads = [threading.Thread(target=t, daemon=True) for t in (
        lambda: texts.update(err=process.stderr.read()),
        lambda: _watch_peak(process, done), *([on_thread] if on_thread else []))]
    for thread in threads:
        thread.start()
    killer = threading.Timer(timeout, process.kill)
    killer.start()
    done.out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    done.wall_s = time.monotonic() - begin
    process.returncode = done.status = os.waitstatus_to_exitcode(status)
    killer.cancel()
    for thread in threads:
        thread.join(5)
    done.err = texts["err"]
    done.cpu_s = usage.ru_utime + usage.ru_stime
    return done


def cpu_s(pid, tid=None, children=False):
    """Of a process with all its threads (those that ended too), or of one
    thread; with children: those that it has waited for, too."""
    where = f"/proc/{pid}/task/{tid}/stat" if tid else f"/proc/{pid}/stat"
    with open(where) as f:
        fields = f.read().rpartition(")")[2].split()
    used = int(fields[11]) + int(fields[12])
    if children:
        used += int(fields[13]) + int(fields[14])
    return used / TICK


def peak_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise ValueError("no memory of its own any more")


def allocated(path):
    """Bytes that a file or a folder takes on its file system."""
    if not os.path.isdir(path):
        return os.lstat(path).st_blocks * 512
    return sum(allocated(os.path.join(folder, name))
               for folder, _, names in os.walk(path) for name in names)


def pretouch(folder, size):
    """Has the kernel touch as much free memory as what follows will need. On
    machines whose host takes free memory back the first touch of it costs many
    times the usual, and it is the peers that would be measured by it."""
    path = os.path.join(folder, "pretouch")
    block = b"\xa5" * (4 << 20)
    with open(path, "wb", buffering=0) as f:
        for _ in range(size // len(block)):
            f.write(block)
    os.unlink(path)
    with mmap.mmap(-1, max(size // 8, 1 << 20)) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, len(memory), 4096):
            memory[at] = 1


def flush(path):
    """Seconds until the file is on the disk."""
    begin = time.monotonic()
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return time.monotonic() - begin


def files_below(path):
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(folder, name)
            for folder, _, names in os.walk(path) for name in names]


def drop_from_cache(*paths):
    """Nothing of these files stays in the page cache; on tmpfs it does."""
    for path in paths:
        for name in files_below(path):
            fd = os.open(name, os.O_RDONLY)
            try:
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def read_into_cache(*paths):
    for path in paths:
        for name in files_below(path):
            with open(name, "rb", buffering=0) as f:
                while f.read(4 << 20):
                    pass
