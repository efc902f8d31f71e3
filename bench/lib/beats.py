"""The guest's voice: a socket on which its second serial port speaks, each line
stamped with the host's clock as it arrives.

The guest's own clock stands still while its VM does, so only the host can tell
how long that was: the longest gap between two heartbeats."""
import os
import re
import socket
import threading
import time

_BEAT = re.compile(r"^HB (\d+) (\d+) (\d+) (\d+)$")


class Beat:
    """t is the host's monotonic clock in s; guest_ms the guest's."""

    __slots__ = ("t", "n", "guest_ms", "work", "writes")

    def __init__(self, t, numbers):
        self.t = t
        self.n, self.guest_ms, self.work, self.writes = map(int, numbers)


class Beats:
    """Listens at `path`. QEMU connects when it starts; a restored one does so
    anew, and its lines follow those of the one before."""

    def __init__(self, path):
        self.beats = []
        self.lines = []
        self.connected_at = []
        self._peer = None
        self._changed = threading.Condition()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(8)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        # Before all that it measures: a late stamp is a gap that was not.
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        except PermissionError:
            pass
        while True:
            peer, _ = self._listener.accept()
            self._peer = peer
            self.connected_at.append(time.monotonic())
            threading.Thread(target=self._read, args=(peer,),
                             daemon=True).start()

    def _read(self, peer):
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        except PermissionError:
            pass
        rest = b""
        while True:
            try:
                data = peer.recv(65536)
            except OSError:
                data = b""
            now = time.monotonic()
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            with self._changed:
                for line in lines:
                    self._take(now, line.decode("latin-1").strip())
                self._changed.notify_all()

    def _take(self, now, line):
        match = _BEAT.match(line)
        if match:
            self.beats.append(Beat(now, match.groups()))
        elif line:
            self.lines.append((now, line))

    def _wait(self, find, timeout, what):
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = find()
                if found is not None:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise TimeoutError(f"no {what} within {timeout} s")

    def wait_beat(self, after, timeout=60):
        """The first heartbeat stamped later than `after`."""
        def find():
            # The last ones are the new ones.
            first = None
            for beat in reversed(self.beats):
                if beat.t <= after:
                    break
                first = beat
            return first
        return self._wait(find, timeout, "heartbeat")

    def wait_line(self, word, after=0, timeout=300):
        """(time, {name: number}) of the first line later than `after` that
        begins with `word`."""
        def find():
            for t, line in self.lines:
                if t > after and line.startswith(word + " "):
                    return t, {k: int(v) for k, v in
                               re.findall(r"(\w+)=(\d+)", line)}
            return None
        return self._wait(find, timeout, f"answer {word}")

    def send(self, command):
        """To the guest connected last; nothing is waited for."""
        self._peer.sendall(command.encode() + b"\n")

    def ask(self, command, word, timeout=300):
        """Sends it and waits for its answer: (time, numbers)."""
        now = time.monotonic()
        self.send(command)
        return self.wait_line(word, now, timeout)

    # Of the heartbeats in a stretch of time.

    def between(self, begin, end):
        return [b for b in self.beats if begin <= b.t <= end]

    def gap_ms(self, begin, end):
        """The longest gap, of those that overlap the stretch."""
        times = [b.t for b in self.beats]
        return max((1000 * (b - a) for a, b in zip(times, times[1:])
                    if b >= begin and a <= end), default=float("nan"))

    def speed(self, begin, end, standstill_ms=0):
        """Work a second, the standstill not counted."""
        beats = self.between(begin, end)
        if len(beats) < 2:
            return float("nan")
        seconds = beats[-1].t - beats[0].t - standstill_ms / 1000
        work = beats[-1].work - beats[0].work
        return work / seconds if seconds > 0.02 else float("nan")
