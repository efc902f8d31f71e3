"""Captures a VM's migration stream and replays it into a fresh VM, as simply as
can be: for golden streams and for the proof that the lab's guest notices what
it should. Knows nothing of firn."""
import os
import select
import socket
import struct
import time

import lab

# Set in every capture; what QEMU does not know is left out, what is not
# asked for is off.
_CAPABILITIES = (
    "events", "return-path", "background-snapshot", "xbzrle", "multifd",
    "postcopy-ram", "x-ignore-shared", "mapped-ram", "auto-converge",
    "compress", "dirty-bitmaps", "release-ram", "validate-uuid",
    "pause-before-switchover", "late-block-activate",
)
_ENDED = ("completed", "failed", "cancelled")


def _prepare(guest, wanted, parameters):
    known = {c["capability"]
             for c in guest.qmp("query-migrate-capabilities")}
    guest.qmp("migrate-set-capabilities", capabilities=[
        {"capability": name, "state": name in wanted}
        for name in _CAPABILITIES if name in known])
    guest.qmp("migrate-set-parameters",
              **{"max_bandwidth": 0, "downtime_limit": 300, **parameters})


def _migration_status(guest):
    return guest.qmp("query-migrate").get("status")


def wait_ended(guest, timeout=60):
    """Waits for the end of a migration; returns its status."""
    return lab.wait_until(
        lambda: (s := _migration_status(guest)) in _ENDED and s,
        timeout, "end of the migration")


def _is_whole(data):
    """Does it end with EOF and a VMDESC section that ends at the last byte?"""
    if not data.endswith(b"}"):
        return False
    at = len(data)
    while (at := data.rfind(b"\0\x06", 0, at)) >= 0:
        length = len(data) - at - 6
        if length > 1 << 28:
            return False
        if (struct.unpack_from(">I", data, at + 2)[0] == length
                and data[at + 6 : at + 7] == b"{"):
            return True
    return False


def capture(guest, return_path=True, xbzrle=False, while_reading=None,
            parameters=None, timeout=120):
    """Precopy of a VM, running or stopped, through a socket; returns the
    stream. With a return path it ends with SHUT(1), which makes QEMU resume
    by itself; without, the VM is left in `postmigrate`. while_reading() is
    called between reads."""
    wanted = {"events"}
    wanted |= {"return-path"} if return_path else set()
    wanted |= {"xbzrle"} if xbzrle else set()
    _prepare(guest, wanted, parameters or {})
    path = f"{guest.dir}/capture.sock"
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(4)
        listener.settimeout(10)
        guest.qmp("migrate", uri=f"unix:{path}")
        peer, _ = listener.accept()
    os.unlink(path)
    data = bytearray()
    with peer:
        peer.settimeout(0.05)
        ponged = False
        while True:
            if time.monotonic() > deadline:
                raise lab.Timeout(f"capture not done in {timeout} s")
            if while_reading is not None:
                while_reading()
            try:
                chunk = peer.recv(1 << 20)
            except socket.timeout:
                continue
            data += chunk
            if not chunk:
                break
            if return_path and not ponged and len(data) > 1024:
                ponged = True
                at = data.find(b"\x08\0\x02\0\x04", 0, 1024)
                assert at > 0, "no PING at the start of the stream"
                peer.sendall(struct.pack(">HH", 2, 4) + data[at + 5 : at + 9])
            if return_path and _is_whole(data):
                peer.sendall(struct.pack(">HHI", 1, 4, 1))
                wait_ended(guest)
                break
    assert _is_whole(data), "the stream was cut"
    status = wait_ended(guest)
    assert status == ("failed" if return_path else "completed"), status
    return bytes(data)


def _accept_all(guest, listener, n):
    """The main connection, then the channels by the numbers they say."""
    peers = [listener.accept()[0] for _ in range(1 + n)]
    main, channels = None, {}
    for peer in peers:
        magic = peer.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL)
        if magic == b"QEVM":
            main = peer
        else:
            hello = peer.recv(64, socket.MSG_PEEK | socket.MSG_WAITALL)
            channels[hello[24]] = peer
    assert main and sorted(channels) == list(range(n)), channels
    return [main] + [channels[i] for i in range(n)]


def capture_multifd(guest, n, method="none", while_reading=None,
                    parameters=None, timeout=120):
    """As capture() with a return path, through n multifd channels; returns the
    bytes of each connection, the main one first."""
    _prepare(guest, {"events", "return-path", "multifd"}, {
        "multifd_channels": n, "multifd_compression": method,
        **(parameters or {})})
    path = f"{guest.dir}/capture.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(32)
        listener.settimeout(10)
        guest.qmp("migrate", uri=f"unix:{path}")
        peers = _accept_all(guest, listener, n)
    os.unlink(path)
    data = [bytearray() for _ in peers]
    open_peers = dict(enumerate(peers))
    deadline = time.monotonic() + timeout
    shut, quiet_since, ponged = False, time.monotonic(), False
    while open_peers:
        assert time.monotonic() < deadline, "capture not done in time"
        if while_reading is not None:
            while_reading()
        ready, _, _ = select.select(list(open_peers.values()), [], [], 0.02)
        for i, peer in list(open_peers.items()):
            if peer not in ready:
                continue
            quiet_since = time.monotonic()
            chunk = peer.recv(1 << 20)
            data[i] += chunk
            if not chunk:
                del open_peers[i]
        main = data[0]
        at = main.find(b"\x08\0\x02\0\x04", 0, 1024)
        if not ponged and 0 < at < len(main) - 9:
            ponged = True
            peers[0].sendall(struct.pack(">HH", 2, 4) + main[at + 5 : at + 9])
        if (not shut and _is_whole(main)
                and time.monotonic() > quiet_since + 0.3):
            peers[0].sendall(struct.pack(">HHI", 1, 4, 1))
            shut = True
    for peer in peers:
        peer.close()
    assert shut and _is_whole(data[0]), "the stream was cut"
    assert wait_ended(guest) == "failed"
    return [bytes(d) for d in data]


def capture_background(guest, timeout=120):
    """background-snapshot into a memfd; returns the stream. 7.2 starts a
    paused VM by it."""
    _prepare(guest, {"events", "background-snapshot"}, {})
    fd = os.memfd_create("background")
    try:
        guest.monitor.execute("getfd", fds=[fd], fdname="background")
        guest.qmp("migrate", uri="fd:background")
        status = wait_ended(guest, timeout)
        assert status == "completed", guest.qmp("query-migrate")
        with open(f"/proc/self/fd/{fd}", "rb") as f:
            data = f.read()
    finally:
        os.close(fd)
    assert _is_whole(data), "the stream was cut"
    return data


def replay(stream, guest, timeout=60):
    """Restores the stream into a Guest that is not running (killed, or made
    with start=False): launches it with -incoming and feeds it. The VM ends as
    the stream says, running or paused."""
    path = f"{guest.dir}/incoming.sock"
    guest.launch(["-incoming", f"unix:{path}"])
    with lab.connect(path) as peer:
        peer.settimeout(timeout)
        peer.sendall(stream)
        guest.wait_status("running", "paused", "postmigrate", timeout=timeout)
