#!/usr/bin/env python3
"""firn serve against a client that knows only the protocol, and against
clients that mean ill. FIRN and CLIENT name the two programs.

    test_serve.py [--kills N]     N killed clients and N killed servers (20)

Exit status 77 where userfaultfd cannot be used."""

import array
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

FIRN = os.environ.get("FIRN", "build/cli/firn")
CLIENT = os.environ.get("CLIENT", "build/tests/interop/uffd_client")
PAGE = 4096
KILLS = 20


def write_image(path, pages, seed=1):
    """A quarter zero, some of it incompressible, the rest text."""
    rng = random.Random(seed)
    noise = rng.randbytes(64 * PAGE)
    with open(path, "wb") as f:
        for i in range(pages):
            kind = i // 16 % 4
            if kind == 0:
                f.seek(PAGE, os.SEEK_CUR)
            elif kind == 1:
                at = rng.randrange(63 * PAGE)
                f.write(noise[at:at + PAGE - 8] + i.to_bytes(8, "little"))
            else:
                f.write((b"page %08d " % (i * 7919) * 300)[:PAGE])
        f.truncate(pages * PAGE)


class Base(unittest.TestCase):
    PAGES = 16384

    @classmethod
    def setUpClass(cls):
        cls.tmp = tempfile.TemporaryDirectory(prefix="firn-serve-",
                                              dir=os.environ.get("TMPDIR"))
        cls.dir = cls.tmp.name
        cls.repo = cls.dir + "/repo"
        cls.image = cls.dir + "/image"
        write_image(cls.image, cls.PAGES)
        cls.firn("init")
        cls.id = cls.firn("import", "--format", "raw", cls.image, "--name",
                          "vm").stdout.strip()

    @classmethod
    def tearDownClass(cls):
        cls.tmp.cleanup()

    @classmethod
    def firn(cls, *words, check=True):
        return subprocess.run([FIRN, "--repo", cls.repo, *words], text=True,
                              capture_output=True, check=check)

    def setUp(self):
        self.sock = self.dir + "/sock"
        self.server = None

    def tearDown(self):
        if self.server and self.server.poll() is None:
            self.server.kill()
            self.server.wait()
        if self.server and self.server.stdout:
            self.server.stdout.close()
            self.server.stderr.close()

    def serve(self, *words, snapshot=None, wait=True):
        self.server = subprocess.Popen(
            [FIRN, "--repo", self.repo, "--json", "serve",
             snapshot or self.id, "--socket", self.sock, *words], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if wait:
            self.assertEqual(self.line()["type"], "listening")

    def line(self):
        text = self.server.stdout.readline()
        if not text:
            raise AssertionError("the server ended: " +
                                 self.server.stderr.read())
        return json.loads(text)

    def start_client(self, *words, image=None, stdin=None):
        return subprocess.Popen(
            [CLIENT, "--socket", self.sock, "--image", image or self.image,
             *words], text=True, stdout=subprocess.PIPE, stdin=stdin)

    def client(self, *words, image=None, want=0):
        c = self.start_client(*words, image=image)
        out, _ = c.communicate(timeout=120)
        if c.returncode == 77:
            self.skipTest("not possible on this host: " + " ".join(words))
        self.assertEqual(c.returncode, want, out)
        return json.loads(out) if out else None

    def stop(self, want=0):
        self.server.send_signal(signal.SIGTERM)
        return self.ended(want)

    def ended(self, want=0):
        out, err = self.server.communicate(timeout=120)
        self.assertEqual(self.server.returncode, want, err)
        return [json.loads(x) for x in out.splitlines()], err


class Serving(Base):
    def test_every_byte_is_the_files(self):
        for memory in ("anon", "memfd"):
            for fill in ("on", "off"):
                with self.subTest(memory=memory, fill=fill):
                    self.serve("--once", "--fill", fill, "--prefetch", "off")
                    seen = self.client("--bytes", "--memory", memory)
                    self.assertEqual(seen["touched"], self.PAGES)
                    lines, _ = self.ended()
                    self.assertEqual(lines[-1]["type"], "client")
                    self.assertEqual(lines[-1]["damaged_pages"], 0)

    def test_huge_pages_come_whole(self):
        for fill in ("on", "off"):
            self.serve("--once", "--fill", fill)
            self.client("--bytes", "--memory", "huge")
            self.ended()

    def test_dropped_pages_are_zero_from_then_on(self):
        for fill in ("on", "off"):
            self.serve("--once", "--fill", fill)
            self.client("--bytes", "--remove", "2000")
            lines, _ = self.ended()
            # What is dropped once all is in is not told any more.
            if fill == "off":
                self.assertGreaterEqual(lines[-1]["removed_pages"], 2000)

    def test_memory_may_come_in_many_pieces(self):
        self.serve("--once")
        self.client("--bytes", "--regions", "100")
        self.ended()

    def test_four_clients_at_once(self):
        self.serve("--fill", "on")
        clients = [self.start_client("--bytes", "--seed", str(i), "--memory",
                                     ("anon", "memfd")[i % 2])
                   for i in range(4)]
        for c in clients:
            out, _ = c.communicate(timeout=120)
            self.assertEqual(c.returncode, 0, out)
        lines, _ = self.stop()
        self.assertEqual(len([x for x in lines if x["type"] == "client"]), 4)

    def test_the_end_comes_after_all_pages_are_in(self):
        self.serve("--fill", "off", "--prefetch", "off")
        c = self.start_client("--bytes", "--pages", "100", "--hold",
                              stdin=subprocess.PIPE)
        c.stdout.readline()
        lines, _ = self.stop()
        self.assertTrue(lines[-1]["resident"])
        c.communicate("\n", timeout=60)
        self.assertEqual(c.returncode, 0)

    def test_a_signal_asks_for_figures(self):
        self.serve()
        c = self.start_client("--pages", "100", "--hold",
                              stdin=subprocess.PIPE)
        c.stdout.readline()
        self.server.send_signal(signal.SIGUSR1)
        told = self.line()
        self.assertEqual((told["type"], told["running"], told["pid"]),
                         ("client", True, c.pid))
        c.communicate("\n", timeout=60)
        self.assertFalse(self.line()["running"])
        self.stop()

    def test_a_hang_up_ends_the_session(self):
        self.serve("--once", "--fill", "off")
        c = self.start_client("--pages", "1000", "--hang-up")
        lines, _ = self.ended()
        self.assertEqual(lines[-1]["pid"], c.pid)
        # It keeps its descriptor and waits: no zeros for what is missing.
        self.assertIsNone(c.poll())
        c.kill()
        c.communicate()

    def test_a_second_server_is_refused_and_a_dead_ones_socket_taken(self):
        self.serve()
        second = self.firn("serve", self.id, "--socket", self.sock,
                           check=False)
        self.assertEqual(second.returncode, 1)
        self.assertIn("somebody else listens", second.stderr)
        self.server.kill()
        self.server.communicate()
        self.serve("--once")
        self.client("--pages", "10")
        self.ended()
        self.assertFalse(os.path.exists(self.sock))


class Hints(Base):
    def setUp(self):
        super().setUp()
        path = "%s/hints/%s" % (self.repo, self.id)
        if os.path.exists(path):
            os.unlink(path)

    def test_what_was_asked_for_is_there_the_next_time(self):
        words = ("--pages", "3000", "--think", "30000")
        self.serve("--once", "--fill", "off")
        self.client(*words)
        first = self.ended()[0][-1]
        self.assertEqual(first["prefetched_pages"], 0)
        self.serve("--once", "--fill", "off")
        self.client("--bytes", *words)
        second = self.ended()[0][-1]
        self.assertGreater(second["prefetched_pages"], 0)
        self.assertLessEqual(second["faults"], first["faults"] * 0.1)
        self.assertEqual(second["prefetch_unasked"], 0)

        # Another order of other pages: the samples tell that nobody asked.
        self.serve("--once", "--fill", "off")
        self.client("--pages", "50", "--seed", "77", "--think", "1000000")
        third = self.ended()[0][-1]
        self.assertGreater(third["prefetch_unasked"],
                           third["prefetch_sampled"] * 0.8)

        self.serve("--once", "--fill", "off", "--prefetch", "off")
        self.client(*words)
        self.assertEqual(self.ended()[0][-1]["prefetched_pages"], 0)

    def test_damaged_hints_are_no_hints(self):
        self.serve("--once", "--fill", "off")
        self.client("--pages", "500")
        self.ended()
        path = "%s/hints/%s" % (self.repo, self.id)
        with open(path, "r+b") as f:
            f.seek(40)
            f.write(b"\xff\xff")
        self.serve("--once", "--fill", "off")
        self.client("--pages", "500", "--bytes")
        lines, err = self.ended()
        self.assertEqual(lines[-1]["prefetched_pages"], 0)
        self.assertIn("checksum", err)


class Damage(Base):
    PAGES = 4096

    def damage(self):
        """Flips a byte in the middle of each pack."""
        for folder, _, names in os.walk(self.repo + "/packs"):
            for name in names:
                path = os.path.join(folder, name)
                size = os.path.getsize(path)
                if size < 200000:
                    continue
                os.chmod(path, 0o600)
                with open(path, "r+b") as f:
                    f.seek(size // 4)
                    byte = f.read(1)
                    f.seek(size // 4)
                    f.write(bytes([byte[0] ^ 1]))

    def test_a_damaged_frame_is_named_and_never_answered(self):
        self.damage()
        for fill in ("off", "on"):
            self.serve("--once", "--fill", fill, "--on-error", "kill",
                       "--prefetch", "off")
            c = self.start_client("--bytes")
            out, _ = c.communicate(timeout=60)
            self.assertEqual(c.returncode, -signal.SIGKILL, out)
            lines, err = self.ended(want=13)
            self.assertIn("checksum differs", err)
            self.assertGreater(lines[-2]["damaged_pages"], 0)
            self.assertEqual(lines[-1]["code"], "damaged")

        self.serve("--once", "--fill", "off", "--prefetch", "off")
        c = self.start_client("--bytes")
        while "cannot be served" not in self.server.stderr.readline():
            pass
        self.assertIsNone(c.poll())
        c.kill()
        c.communicate()
        self.ended(want=13)


class Hostile(Base):
    """Whatever a client says, the next one is served."""

    def region(self, **changes):
        return {"base_host_virt_addr": 0x7f0000000000, "size": 2 << 20,
                "offset": 0, "page_size": PAGE, **changes}

    def send(self, data, fds=(), piece=None):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(self.sock)
        try:
            if fds:
                s.sendmsg([data[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                        array.array("i", fds))])
                data = data[1:]
            if piece:
                for i in range(0, len(data), piece):
                    s.sendall(data[i:i + piece])
            else:
                s.sendall(data)
            # The server hangs up, or has done so already.
            self.assertEqual(s.recv(1), b"")
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            s.close()

    def test_messages_of_no_sense_are_refused_by_name(self):
        self.serve("--clients", "2")
        null = os.open("/dev/null", os.O_RDWR)
        rd, wr = os.pipe()
        good = json.dumps([self.region()]).encode()
        size = self.PAGES * PAGE
        bad_regions = [
            [], [1], [{}], [self.region(size=0)],
            [self.region(base_host_virt_addr=1)],
            [self.region(offset=size)], [self.region(size=size + PAGE)],
            [self.region(size=2 ** 62, offset=2 ** 62)],
            [self.region(base_host_virt_addr=2 ** 63 - PAGE)],
            [self.region(page_size=8192)], [self.region(size=-4096)],
            [self.region(size="4096")], [self.region(size=4096.0)],
            [self.region(), self.region()],
            [self.region(), self.region(offset=4 << 20)],
            [self.region(), self.region(base_host_virt_addr=0x7e0000000000)],
            [self.region(), self.region(offset=4 << 20, page_size=2 << 20,
                                        base_host_virt_addr=0x7e0000000000)],
            [self.region()] * 2000,
        ]
        notes = []
        try:
            self.send(good)
            self.send(good, [null])
            self.send(good, [null, rd])
            self.send(good, [null] * 20)
            self.send(b"{}", [null])
            self.send(b"\x00" * 100, [null])
            self.send(b"[" * 200000, [null])
            self.send(good + b"[]", [null])
            self.send(good, [null], piece=1)
            self.send(b'[{"a":"' + b"x" * (10 << 20) + b'"}]', [null])
            for regions in bad_regions:
                self.send(json.dumps(regions).encode(), [null])
            self.send_with_real_descriptor(bad_regions)
        finally:
            for fd in (null, rd, wr):
                os.close(fd)
        # One that says nothing is given up after a time; others are served.
        quiet = socket.socket(socket.AF_UNIX)
        quiet.connect(self.sock)
        self.client("--bytes")
        self.assertEqual(quiet.recv(1), b"")
        quiet.close()
        lines, err = self.stop()
        self.assertEqual(len([x for x in lines if x["type"] == "client"]), 1)
        for text in ("no descriptor came", "no userfaultfd",
                     "more than one descriptor", "no JSON array",
                     "longer than", "something follows", "its size is 0",
                     "reach past the image", "pages of 8192", "overlap",
                     "is no number", "page size differs"):
            self.assertIn(text, err)

    def send_with_real_descriptor(self, bad_regions):
        """The same with a userfaultfd: an old one, of no memory at all."""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        fd = libc.syscall(323, os.O_CLOEXEC | os.O_NONBLOCK)
        if fd < 0:
            self.skipTest("no userfaultfd")
        self.send(json.dumps([self.region()]).encode(), [fd])
        api = (ctypes.c_uint64 * 3)(0xAA, 0, 0)
        self.assertEqual(libc.ioctl(fd, 0xc018aa3f, api), 0)
        self.send(json.dumps([self.region()]).encode(), [fd])
        for regions in bad_regions:
            self.send(json.dumps(regions).encode(), [fd])
        os.close(fd)


class Files(Base):
    PAGES = 2048

    def test_export_gives_back_what_import_took(self):
        out = self.dir + "/out"
        self.firn("export", self.id, "--format", "raw", "--output", out)
        with open(out, "rb") as a, open(self.image, "rb") as b:
            self.assertEqual(a.read(), b.read())
        self.assertLess(os.stat(out).st_blocks * 512,
                        os.stat(out).st_size * 0.8)
        again = self.firn("export", self.id, "--format", "raw", "--output",
                          out, check=False)
        self.assertIn("there already", again.stderr)

    def test_state_files_come_back_under_their_names(self):
        for name, data in (("a.state", b"\0\1\2"), ("b", b"")):
            with open(self.dir + "/" + name, "wb") as f:
                f.write(data)
        sid = self.firn("import", "--format", "raw", self.image, "--name",
                        "vm", "--state", self.dir + "/a.state", "--state",
                        self.dir + "/b").stdout.strip()
        self.firn("export", sid, "--format", "raw", "--output",
                  self.dir + "/m", "--state", self.dir + "/states")
        with open(self.dir + "/states/a.state", "rb") as f:
            self.assertEqual(f.read(), b"\0\1\2")
        self.assertEqual(os.path.getsize(self.dir + "/states/b"), 0)
        twice = self.firn("import", "--format", "raw", self.image, "--state",
                          self.dir + "/b", "--state", self.dir + "/b",
                          check=False)
        self.assertIn("two state files", twice.stderr)

    def test_the_same_again_costs_nothing(self):
        done = self.firn("--json", "import", "--format", "raw", self.image,
                         "--name", "vm")
        pages = json.loads(done.stdout.splitlines()[-1])["pages"]
        self.assertEqual(pages["stored"], 0)

    def test_a_diff_over_a_snapshot_is_whole(self):
        diff, out = self.dir + "/diff", self.dir + "/whole"
        with open(self.image, "rb") as f:
            want = bytearray(f.read())
        with open(diff, "wb") as f:
            # A page of zeros that is written is data, a hole is not.
            for page, data in ((3, b"new" * 1000), (20, bytes(PAGE)),
                               (900, b"z" * PAGE)):
                data = data.ljust(PAGE, b"\0")
                f.seek(page * PAGE)
                f.write(data)
                want[page * PAGE:(page + 1) * PAGE] = data
            f.truncate(self.PAGES * PAGE)
        sid = self.firn("import", "--format", "raw", diff, "--name", "vm",
                        "--sparse-over", self.id).stdout.strip()
        self.firn("export", sid, "--format", "raw", "--output", out)
        with open(out, "rb") as f:
            self.assertEqual(f.read(), bytes(want))
        small = self.dir + "/small"
        with open(small, "wb") as f:
            f.truncate(PAGE)
        bad = self.firn("import", "--format", "raw", small, "--sparse-over",
                        self.id, check=False)
        self.assertIn("4096 bytes, snapshot", bad.stderr)

    def test_what_is_no_memory_is_refused(self):
        odd = self.dir + "/odd"
        with open(odd, "wb") as f:
            f.write(b"x" * 5000)
        self.assertIn("whole pages", self.firn("import", "--format", "raw",
                                               odd, check=False).stderr)
        for command in (("import", "--format", "elf", odd),
                        ("export", self.id, "--format", "stream")):
            bad = self.firn(*command, check=False)
            self.assertIn("not known to this version", bad.stderr)


class Kills(Base):
    PAGES = 8192

    def figures(self, pid):
        with open("/proc/%d/status" % pid) as f:
            status = dict(x.split(":", 1) for x in f)
        return {"fds": len(os.listdir("/proc/%d/fd" % pid)),
                "threads": int(status["Threads"]),
                "rss_kib": int(status["VmRSS"].split()[0])}

    def test_clients_killed_at_any_moment_leave_nothing(self):
        rng = random.Random(5)
        # Nobody reads what it says of 500 clients: a full pipe stops it.
        self.server = subprocess.Popen(
            [FIRN, "--repo", self.repo, "-q", "serve", self.id, "--socket",
             self.sock, "--clients", "4"])
        while not os.path.exists(self.sock):
            time.sleep(0.01)
        self.client("--pages", "10")
        # Until its session is over; a sanitizer has a thread of its own.
        while self.figures(self.server.pid)["threads"] > 2:
            time.sleep(0.02)
        before = self.figures(self.server.pid)
        for i in range(KILLS):
            c = self.start_client("--seed", str(i), "--remove",
                                  str(rng.choice((0, 50))))
            time.sleep(rng.random() ** 2 * 0.15)
            c.kill()
            c.communicate()
        self.client("--bytes", "--pages", "100")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            after = self.figures(self.server.pid)
            if after["threads"] == before["threads"]:
                break
            time.sleep(0.05)
        packs = len(os.listdir(self.repo + "/packs"))
        print("\n%d clients killed: before %s, after %s, %d pack folders" % (
            KILLS, before, after, packs))
        self.assertEqual(after["threads"], before["threads"])
        # Packs are opened when they are needed, by index and by frames.
        self.assertLessEqual(after["fds"], before["fds"] + 5 * packs)
        self.assertLess(after["rss_kib"], 500 << 10)
        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(timeout=60), 0)

    def test_servers_killed_at_any_moment_leave_nothing(self):
        rng = random.Random(6)
        for i in range(KILLS):
            self.serve("--once", wait=False)
            while not os.path.exists(self.sock) and \
                    self.server.poll() is None:
                time.sleep(0.002)
            c = subprocess.Popen([CLIENT, "--socket", self.sock, "--image",
                                  self.image], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            time.sleep(rng.random() ** 2 * 0.15)
            self.server.kill()
            self.server.communicate()
            c.kill()
            c.wait()
        self.serve("--once")
        self.client("--bytes")
        self.ended()
        done = self.firn("check", "--read-data")
        print("\n%d servers killed: %s; locks %s" % (
            KILLS, done.stdout.strip(), os.listdir(self.repo + "/locks")))
        self.assertIn("0 errors", done.stdout)
        self.assertEqual(os.listdir(self.repo + "/locks"), [])
        self.assertLessEqual(set(os.listdir(self.repo + "/hints")), {self.id})


if __name__ == "__main__":
    if "--kills" in sys.argv:
        at = sys.argv.index("--kills")
        KILLS = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    unittest.main(verbosity=2)
