#!/usr/bin/env python3
"""Command lines and what comes of them: output, errors, exit statuses.

    FIRN=build/cli/firn tests/cli/test_commands.py [Class.test ...]

Needs no QEMU: where a VM is asked, a script plays its monitor.
"""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import unittest

FIRN = os.path.abspath(os.environ.get("FIRN") or "build/cli/firn")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

EXIT_CODES = """\
status code             meaning
    0  ok               done as asked
    1  io               reading or writing failed
    1  no_memory        out of memory
    1  invalid          a value makes no sense
    1  not_found        there is no such thing
    1  exists           it is there already
    1  unsupported      this cannot be done here
    1  protocol         the peer broke the protocol
    1  cancelled        another part failed first
    2  usage            the command line is wrong
    3  partial          done, but not as asked
   10  no_repository    there is no repository
   11  locked           somebody else holds it
   12  wrong_key        the key does not fit
   13  damaged          stored data is damaged
   14  format           repository format is not known
   15  no_space         no space left
   20  vm_unreachable   the VM cannot be reached
   21  incompatible     snapshot and VM differ
   22  downtime_budget  downtime cannot be held
   23  timeout          it took too long
  130  interrupted      interrupted by SIGINT
  143  terminated       ended by SIGTERM

Data goes to stdout, messages to stderr. A status that is not listed means
failure. Fields may be added to JSON objects and are never renamed.
"""


class Case(unittest.TestCase):
    """A folder of its own, and an environment that names no repository."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="firn-cli-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": self.folder,
                    "TZ": "UTC", "LC_ALL": "C.UTF-8"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        self.repo = os.path.join(self.folder, "repo")

    def firn(self, *words, **more):
        """(exit status, stdout, stderr) of one command."""
        kwargs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                  "stdin": subprocess.DEVNULL, "env": self.env, "text": True,
                  "timeout": 60, "cwd": self.folder}
        kwargs.update(more)
        done = subprocess.run([FIRN, *words], **kwargs)
        return done.returncode, done.stdout, done.stderr

    def expect(self, status, out, err, *words):
        self.assertEqual((status, out, err), self.firn(*words))

    def objects(self, *words):
        """(exit status, the objects on stdout) of a command with --json."""
        status, out, _ = self.firn("--json", *words)
        return status, [json.loads(line) for line in out.splitlines()]

    def error(self, status, code, *words):
        """The command fails so, in the same words for people and programs."""
        got, out, err = self.firn("--json", *words)
        last = json.loads(out.splitlines()[-1])
        self.assertEqual((status, "error", code),
                         (got, last["type"], last["code"]))
        self.assertIn("firn: %s\n" % last["message"], err)
        if last["hint"]:
            self.assertIn("  hint: %s\n" % last["hint"], err)
        return last


class Help(Case):
    def commands(self):
        out = self.firn()[1]
        table = out.split("Commands:\n")[1].split("\n\n")[0]
        return re.findall(r"^  (\w+)", table, re.M)

    def test_firn_alone_prints_the_overview(self):
        status, out, err = self.firn()
        self.assertEqual((0, ""), (status, err))
        self.assertTrue(out.startswith(
            "usage: firn [--repo REPO] COMMAND [options]\n"))
        for words in (["help"], ["--help"], ["-h"], ["help", "help"]):
            self.expect(0, out, "", *words)

    def test_every_command_has_its_help_and_hidden_ones_are_hidden(self):
        commands = self.commands()
        self.assertEqual(commands[-1], "help")
        self.assertIn("init", commands)
        self.assertNotIn("pager", commands)
        for command in commands[:-1]:
            status, out, err = self.firn("help", command)
            self.assertEqual((0, ""), (status, err), command)
            self.assertTrue(out.startswith("usage: firn " + command), command)
            self.expect(0, out, "", command, "--help")
            self.expect(0, out, "", "-h", command)

    def test_no_line_is_longer_than_80_columns(self):
        texts = [self.firn()[1], self.firn("help", "exit-codes")[1]]
        texts += [self.firn("help", c)[1] for c in self.commands()]
        for text in texts:
            for line in text.splitlines():
                self.assertLessEqual(len(line), 80, line)
                self.assertEqual(line, line.rstrip())

    def test_no_option_means_two_things(self):
        for command in self.commands()[:-1]:
            out = self.firn("help", command)[1]
            names = re.findall(r"^  (?:-\w, |    )--([\w-]+)", out, re.M)
            letters = re.findall(r"^  -(\w), ", out, re.M)
            self.assertEqual(len(names), len(set(names)), names)
            self.assertEqual(len(letters), len(set(letters)), letters)

    def test_exit_codes(self):
        self.expect(0, EXIT_CODES, "", "help", "exit-codes")
        status, objects = self.objects("help", "exit-codes")
        self.assertEqual(0, status)
        self.assertEqual(EXIT_CODES.count("\n") - 4, len(objects))
        self.assertIn({"type": "exit_code", "status": 13, "code": "damaged",
                       "sentence": "stored data is damaged"}, objects)

    def test_version(self):
        status, out, err = self.firn("version")
        self.assertEqual((0, ""), (status, err))
        self.assertRegex(out, r"^firn \d+\.\d+\.\d+\n")
        self.expect(0, out, "", "--version")
        status, objects = self.objects("version")
        self.assertEqual("version", objects[0]["type"])
        self.assertEqual(out.split()[1], objects[0]["version"])
        self.assertEqual(1, objects[0]["format"])
        for name in ("zstd", "xxhash", "sqlite", "jansson"):
            self.assertIn("%s %s\n" % (name, objects[0]["libraries"][name]),
                          out)

    def test_the_manual_names_every_command_and_option(self):
        with open(os.path.join(ROOT, "docs", "firn.1")) as f:
            manual = f.read().replace("\\-", "-")
        for command in self.commands()[:-1]:
            self.assertRegex(manual, r"(?m)^\.Ss firn %s\b" % command)
            out = self.firn("help", command)[1]
            for name in re.findall(r"--([a-z][\w-]+)", out):
                self.assertIn("-" + name, manual, command)

    def test_completion_knows_commands_and_options(self):
        script = os.path.join(ROOT, "cli", "completion", "firn.bash")

        def complete(line):
            words = line.split(" ")
            code = ("source '%s'; COMP_WORDS=(%s); COMP_CWORD=%d; _firn; "
                    "printf '%%s\\n' \"${COMPREPLY[@]}\"" % (
                        script, " ".join("'%s'" % w for w in words),
                        len(words) - 1))
            done = subprocess.run(["bash", "-c", code], text=True,
                                  stdout=subprocess.PIPE, check=True,
                                  env=dict(self.env, PATH="%s:%s" % (
                                      os.path.dirname(FIRN),
                                      self.env["PATH"])))
            return done.stdout.split()

        self.assertEqual(["init"], complete("firn ini"))
        self.assertEqual(["--read-data"], complete("firn check --read"))
        self.assertIn("--json", complete("firn list --"))
        self.assertEqual(["exit-codes"], complete("firn help exit"))


class Usage(Case):
    def test_unknown_commands(self):
        self.expect(2, "", "firn: unknown command 'lsit'\n"
                    "  hint: did you mean 'firn list'?\n", "lsit")
        self.expect(2, "", "firn: unknown command 'frobnicate'\n"
                    "  hint: 'firn help' lists the commands\n", "frobnicate")
        self.expect(2, "", "firn: unknown command 'lsit'\n"
                    "  hint: did you mean 'firn list'?\n", "help", "lsit")

    def test_unknown_options(self):
        for words in (["list", "--jsno"], ["list", "--jsno=1"]):
            self.expect(2, "", "firn: unknown option '--jsno'\n"
                        "  hint: did you mean '--json'?\n", *words)
        self.expect(2, "", "firn: unknown option '-x'\n"
                    "  hint: see 'firn help list'\n", "list", "-x")
        self.expect(2, "", "firn: unknown option '--frob'\n"
                    "  hint: see 'firn help'\n", "--frob")
        self.expect(2, "", "firn: unknown option '--frob'\n"
                    "  hint: see 'firn help list'\n", "--frob", "list")

    def test_missing_and_extra_words(self):
        self.expect(2, "", "firn: one word too many: 'b'\n"
                    "  hint: see 'firn help list'\n", "list", "a", "b")
        self.expect(2, "", "firn: SNAP is missing\n"
                    "  hint: see 'firn help show'\n", "show")
        self.expect(2, "", "firn: nothing can stand behind '--' here\n"
                    "  hint: see 'firn help list'\n", "list", "--", "x")

    def test_missing_and_wrong_values(self):
        self.expect(2, "", "firn: option '--repo' needs a value: REPO\n"
                    "  hint: see 'firn help list'\n", "list", "--repo")
        self.expect(2, "", "firn: option '--read-data': '0' is no percentage "
                    "from 1 to 100\n  hint: see 'firn help check'\n",
                    "check", "--read-data=0")

    def test_a_json_error_is_one_object_on_stdout(self):
        text = ('{"type":"error","code":"usage","message":"unknown command '
                '\'lsit\'","hint":"did you mean \'firn list\'?"}\n')
        told = ("firn: unknown command 'lsit'\n"
                "  hint: did you mean 'firn list'?\n")
        self.expect(2, text, told, "--json", "lsit")
        self.expect(2, text, told, "lsit", "--json")
        self.expect(2, text, "", "lsit", "--json", "-q")

    def test_json_is_understood_even_when_other_options_are_not(self):
        status, out, _ = self.firn("--frob", "--json")
        self.assertEqual((2, "usage"), (status, json.loads(out)["code"]))

    def test_a_reader_that_went_away_is_no_news(self):
        reader, writer = os.pipe()
        os.close(reader)
        status, _, err = self.firn("help", stdout=writer)
        os.close(writer)
        self.assertEqual((1, ""), (status, err))

    def test_output_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w") as full:
            status, _, err = self.firn("help", stdout=full)
        self.assertEqual(15, status)
        self.assertIn("cannot write to standard output", err)

    def test_a_closed_stdout_is_an_error_and_hits_no_file(self):
        done = subprocess.run(
            ["bash", "-c", '"$0" help >&-', FIRN], env=self.env,
            stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(1, done.returncode)
        self.assertIn("cannot write to standard output", done.stderr)


class Repository(Case):
    def init(self):
        status, objects = self.objects("init", self.repo)
        self.assertEqual(0, status)
        return objects[0]

    def test_init_makes_a_private_folder(self):
        made = self.init()
        self.assertEqual({"type": "repository", "path": self.repo,
                          "id": made["id"]}, made)
        self.assertRegex(made["id"], "^[0-9a-f]{32}$")
        self.assertEqual(0o700, stat.S_IMODE(os.stat(self.repo).st_mode))
        for folder, folders, names in os.walk(self.repo):
            for name in folders:
                mode = os.stat(os.path.join(folder, name)).st_mode
                self.assertEqual(0o700, stat.S_IMODE(mode), name)
            for name in names:
                mode = os.stat(os.path.join(folder, name)).st_mode
                self.assertEqual(0o600, stat.S_IMODE(mode), name)

    def test_init_says_where(self):
        status, out, err = self.firn("--repo", self.repo, "init")
        self.assertEqual((0, ""), (status, err))
        self.assertRegex(out, r"^repository [0-9a-f]{32} made in %s\n$"
                         % re.escape(self.repo))
        self.expect(0, "", "", "-q", "init", self.repo + "2")

    def test_init_twice_is_refused_and_harms_nothing(self):
        self.init()
        before = sorted(os.listdir(self.repo))
        self.error(1, "exists", "init", self.repo)
        self.assertEqual(before, sorted(os.listdir(self.repo)))
        self.expect(0, "", "", "-q", "--repo", self.repo, "list")

    def test_init_refuses_a_folder_with_other_things(self):
        os.mkdir(self.repo)
        open(os.path.join(self.repo, "letter"), "w").close()
        self.error(1, "exists", "init", self.repo)
        self.assertEqual(["letter"], os.listdir(self.repo))

    def test_init_needs_a_name(self):
        self.error(2, "usage", "init")

    def test_no_repository(self):
        none = self.error(10, "no_repository", "list")
        self.assertEqual("no repository was named", none["message"])
        gone = self.error(10, "no_repository", "--repo", self.repo, "list")
        self.assertIn(self.repo, gone["message"])
        self.assertIn("'firn init %s'" % self.repo, gone["hint"])
        for words in (["show", "latest"], ["check"]):
            self.error(10, "no_repository", "--repo", self.repo, *words)

    def test_a_bucket_is_refused_by_name(self):
        for words in (["init", "s3://bucket/x"],
                      ["--repo", "s3://bucket/x", "list"]):
            told = self.error(1, "unsupported", *words)
            self.assertIn("'s3://bucket/x'", told["message"])

    def test_where_the_repository_is_named(self):
        self.init()
        quiet = (0, "", "")
        config = os.path.join(self.folder, ".config", "firn")
        os.makedirs(config)
        with open(os.path.join(config, "config"), "w") as f:
            f.write("# mine\nrepository = ~/repo\n")
        self.assertEqual(quiet, self.firn("-q", "list"))
        self.env["FIRN_REPOSITORY"] = "/nowhere"
        self.assertEqual(10, self.firn("list")[0])
        self.assertEqual(quiet, self.firn("list", "-q", "--repo", self.repo))

    def test_a_broken_config_file_is_named(self):
        config = os.path.join(self.folder, ".config", "firn")
        os.makedirs(config)
        with open(os.path.join(config, "config"), "w") as f:
            f.write("repo = /x\n")
        told = self.error(2, "usage", "list")
        self.assertEqual("%s/config:1: unknown key 'repo'" % config,
                         told["message"])

    def test_a_format_of_the_future(self):
        self.init()
        config = os.path.join(self.repo, "config")
        with open(config) as f:
            text = f.read()
        with open(config, "w") as f:
            f.write(text.replace('"format":1', '"format":2', 1))
        for words in (["list"], ["show", "latest"], ["check"]):
            told = self.error(14, "format", "--repo", self.repo, *words)
            self.assertIn("2", told["message"])

    def test_a_damaged_config(self):
        self.init()
        config = os.path.join(self.repo, "config")
        with open(config, "r+b") as f:
            f.seek(40)
            byte = f.read(1)
            f.seek(40)
            f.write(bytes([byte[0] ^ 1]))
        self.error(13, "damaged", "--repo", self.repo, "list")

    def test_an_empty_repository(self):
        self.init()
        repo = ["--repo", self.repo]
        self.expect(0, "", "firn: no snapshots yet\n", *repo, "list")
        self.expect(0, "", "firn: no snapshots of vm1 yet\n", *repo, "list",
                    "vm1")
        self.expect(0, "", "", *repo, "list", "--json", "-q")
        self.expect(0, "0 snapshots and 0 packs checked: 0 errors\n", "",
                    *repo, "check")
        self.error(1, "not_found", *repo, "show", "latest")
        self.error(1, "not_found", *repo, "show", "0123456789abcdef")
        status, objects = self.objects(*repo, "check", "--read-data")
        self.assertEqual(0, status)
        self.assertEqual(
            {"type": "check", "snapshots": 0, "packs": 0, "errors": 0},
            {k: objects[-1][k] for k in ("type", "snapshots", "packs",
                                         "errors")})
        self.assertEqual(100, objects[-1]["read_data_percent"])

    def import_image(self, pages):
        path = os.path.join(self.folder, "image")
        with open(path, "wb") as f:
            f.write(b"".join(pages))
        return self.firn("--repo", self.repo, "-q", "import", "--format",
                         "raw", "--name", "vm1", path)[1].strip()

    def test_diff_tells_what_differs_and_where(self):
        self.init()
        pages = [os.urandom(4096) for _ in range(600)] + [bytes(4096)] * 40
        a = self.import_image(pages)
        pages[7] = os.urandom(4096)
        pages[8] = bytes(4096)
        pages[610] = os.urandom(4096)
        b = self.import_image(pages)
        repo = ["--repo", self.repo]
        status, objects = self.objects(*repo, "diff", a, b, "--ranges")
        self.assertEqual(0, status)
        self.assertEqual(
            [{"type": "diff", "a": a, "b": b, "devices": [], "blocks": [
                {"name": "ram", "bytes": 640 * 4096, "n_ranges": 2,
                 "pages": {"same": 637, "changed": 1, "filled": 1,
                           "cleared": 1},
                 "ranges": [[7 * 4096, 8192], [610 * 4096, 4096]]}]}],
            objects)
        text = self.firn(*repo, "diff", a, b)[1]
        self.assertRegex(text, r"ram +2\.5 MiB +637 +1 +1 +1 +2")
        self.assertNotIn("RANGES of", text)
        self.assertIn("\n          7000 8192\n",
                      self.firn(*repo, "diff", a, b, "--ranges")[1])
        self.error(2, "usage", *repo, "diff", a)
        self.error(1, "not_found", *repo, "diff", a, "vm2@latest")

    def test_list_groups_by_vm_and_draws_sizes(self):
        self.init()
        pages = [os.urandom(4096) for _ in range(64)]
        ids = [self.import_image(pages)]
        pages[3] = os.urandom(4096)
        ids.append(self.import_image(pages))
        other = self.firn("--repo", self.repo, "-q", "import", "--format",
                          "raw", "--name", "db",
                          os.path.join(self.folder, "image"))[1].strip()
        self.env["LC_ALL"] = "C"
        out = self.firn("--repo", self.repo, "list")[1]
        self.assertRegex(
            out, r"\Adb: 1 snapshot, [0-9.]+ KiB\s+ID .*\n%s .*\n\n"
                 r"vm1: 2 snapshots, [0-9.]+ KiB  #_\nID .*\n%s .*\n%s .*\n"
                 r"\nall checked since: never, all data read since: never\n\Z"
                 % (other, *ids))
        self.env["LC_ALL"] = "C.UTF-8"
        self.assertIn("\u2588\u2581\n",
                      self.firn("--repo", self.repo, "list", "vm1")[1])

    def test_two_are_shown_side_by_side_and_mapped(self):
        self.init()
        text = [(b"line %d\n" % i) * 600 for i in range(512)]
        pages = [t[:4096] for t in text] + [bytes(4096)] * 512
        a = self.import_image(pages)
        pages[:64] = [os.urandom(4096) for _ in range(64)]
        pages[600:664] = [t[1:4097] for t in text[:64]]
        b = self.import_image(pages)
        repo = ["--repo", self.repo]
        out = self.firn(*repo, "show", a, b)[1]
        self.assertRegex(out, r"(?m)^ +SNAPSHOT +%s +%s$" % (a, b))
        self.assertRegex(out, r"(?m)^   VM +vm1 +vm1$")
        self.assertRegex(out, r"(?m)^\*  pages zero +512 +448$")
        self.assertRegex(out, r"(?m)^\*  ram +512 data pages of 4\.0 MiB +576 ")
        status, objects = self.objects(*repo, "show", a, b, "--map")
        self.assertEqual((0, [a, b]), (status, [o["id"] for o in objects]))
        of_a, of_b = (o["blocks"][0]["map"] for o in objects)
        self.assertEqual((512, 0, 0), (of_a["new"], of_a["shared"],
                                       of_a["incompressible"]))
        self.assertEqual((64, 448, 64), (of_b["new"], of_b["shared"],
                                         of_b["incompressible"]))
        self.assertEqual("#" * 512 + "." * 512, of_a["cells"])
        self.assertEqual("X" * 64 + "=" * 448 + "." * 88 + "#" * 64 +
                         "." * 360, of_b["cells"])
        self.error(2, "usage", *repo, "show", a, b, a)

    def test_a_damaged_snapshot_is_named_and_found_by_check(self):
        self.init()
        name = "0123456789abcdef"
        path = os.path.join(self.repo, "snapshots", name)
        with open(path, "wb") as f:
            f.write(b"no snapshot" * 100)
        told = self.error(13, "damaged", "--repo", self.repo, "list")
        self.assertEqual("1 snapshot cannot be read", told["message"])
        err = self.firn("--repo", self.repo, "list")[2]
        self.assertIn("firn: snapshot '%s' cannot be read: " % name, err)
        self.error(13, "damaged", "--repo", self.repo, "show", name)
        status, objects = self.objects("--repo", self.repo, "check")
        self.assertEqual(13, status)
        self.assertEqual("check", objects[-1]["type"])
        self.assertEqual(1, objects[-1]["errors"])
        self.assertEqual("damaged", objects[0]["code"])
        self.assertIn(name, objects[0]["object"])


class Monitor:
    """A QMP monitor that gives the answers it was told, one client."""

    def __init__(self, path, version=(10, 0, 2), **answers):
        self.version = version
        self.answers = {
            "query-status": {"status": "running", "running": True},
            "query-kvm": {"enabled": False, "present": True},
            "query-migrate": {},
            "query-migrate-capabilities": [
                {"capability": name, "state": False} for name in
                ("events", "return-path", "multifd", "background-snapshot",
                 "postcopy-ram", "postcopy-preempt")],
        }
        self.answers.update({k.replace("_", "-"): v
                             for k, v in answers.items()})
        self.asked = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(1)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        peer, _ = self.socket.accept()
        major, minor, micro = self.version
        stream = peer.makefile("rw")

        def say(answer):
            stream.write(json.dumps(answer) + "\r\n")
            stream.flush()

        say({"QMP": {"version": {"qemu": {"major": major, "minor": minor,
                                          "micro": micro}, "package": ""},
                     "capabilities": ["oob"]}})
        with peer, stream:
            self.answer(stream, say)

    def answer(self, stream, say):
        for line in stream:
            command = json.loads(line)
            name = command.get("execute") or command.get("exec-oob")
            self.asked.append(name)
            answer = {"id": command.get("id")}
            if name == "qmp_capabilities":
                answer["return"] = {}
            elif name in self.answers:
                answer["return"] = self.answers[name]
            else:
                answer["error"] = {"class": "CommandNotFound", "desc": name}
            say(answer)

    def close(self):
        self.socket.close()
        self.thread.join(10)


class Doctor(Case):
    def ask(self, *words, **vm):
        path = os.path.join(self.folder, "qmp")
        monitor = Monitor(path, **vm)
        self.addCleanup(monitor.close)
        status, objects = self.objects("doctor", "--qmp", path, *words)
        os.unlink(path)
        # Whatever it sees, it only asks.
        for command in monitor.asked:
            self.assertRegex(command, "^(query-|qmp_capabilities)")
        return status, {o["check"]: o for o in objects if o["type"] == "doctor"}

    def test_the_host(self):
        status, objects = self.objects("doctor")
        checks = {o["check"]: o for o in objects if o["type"] == "doctor"}
        for name in ("kernel", "userfaultfd", "io_uring", "memlock", "kvm",
                     "qemu", "repository"):
            self.assertIn(name, checks)
        missing = [o for o in checks.values() if o["status"] == "missing"]
        self.assertEqual(1 if missing else 0, status)
        for o in checks.values():
            self.assertEqual({"type", "check", "status", "detail", "remedy"},
                             set(o))
            self.assertIn(o["status"], ("ok", "warning", "missing"))
            if o["status"] == "ok":
                self.assertEqual("", o["remedy"])
        self.assertEqual("warning", checks["repository"]["status"])

    def test_a_repository(self):
        self.firn("init", self.repo)
        _, objects = self.objects("--repo", self.repo, "doctor")
        checks = {o["check"]: o for o in objects}
        for name in ("repository", "unnamed files", "free space"):
            self.assertEqual("ok", checks[name]["status"], checks[name])
        status, objects = self.objects("--repo", "/nowhere", "doctor")
        self.assertEqual(1, status)
        self.assertEqual(("error", "unsupported"), (
            objects[-1]["type"], objects[-1]["code"]))

    def test_a_vm_that_is_well(self):
        _, checks = self.ask()
        self.assertIn("QEMU 10.0.2", checks["vm"]["detail"])
        self.assertIn("TCG", checks["vm"]["detail"])
        for name in ("vm", "run state", "migration", "capabilities", "mode"):
            self.assertEqual("ok", checks[name]["status"], checks[name])
        self.assertIn("auto takes mode stream", checks["mode"]["detail"])

    def test_the_mode_of_an_emulated_vm_before_9_0(self):
        _, checks = self.ask(version=(7, 2, 22))
        self.assertIn("auto takes mode background", checks["mode"]["detail"])
        _, checks = self.ask(version=(7, 2, 22),
                             query_kvm={"enabled": True, "present": True})
        self.assertIn("auto takes mode stream", checks["mode"]["detail"])
        _, checks = self.ask(version=(7, 2, 22),
                             query_status={"status": "paused"})
        self.assertIn("auto takes mode stream", checks["mode"]["detail"])
        _, checks = self.ask(version=(7, 2, 22), query_migrate_capabilities=[])
        self.assertEqual("warning", checks["mode"]["status"])

    def test_what_others_left_behind(self):
        for state in ("postmigrate", "finish-migrate", "inmigrate"):
            _, checks = self.ask(query_status={"status": state})
            self.assertEqual("warning", checks["run state"]["status"])
            self.assertIn(state, checks["run state"]["detail"])
            self.assertTrue(checks["run state"]["remedy"])
        for state in ("pre-switchover", "active", "postcopy-paused"):
            _, checks = self.ask(query_migrate={"status": state})
            self.assertEqual("warning", checks["migration"]["status"])
            self.assertTrue(checks["migration"]["remedy"])

    def test_what_blocks_a_capture(self):
        why = "VFIO migration is not supported in kernel"
        status, checks = self.ask(query_migrate={"blocked-reasons": [why]})
        self.assertEqual(1, status)
        self.assertEqual("missing", checks["migration"]["status"])
        self.assertIn(why, checks["migration"]["detail"])

    def test_a_vm_that_cannot_be_reached(self):
        told = self.error(20, "vm_unreachable", "doctor", "--qmp",
                          os.path.join(self.folder, "none"))
        self.assertIn("none", told["message"])


class Bench(Case):
    def test_every_line_is_a_figure_and_the_repository_is_as_it_was(self):
        def files():
            return sorted(os.path.join(folder, name)
                          for folder, _, names in os.walk(self.repo)
                          for name in names)

        self.assertEqual(0, self.firn("init", self.repo)[0])
        before = files()
        status, objects = self.objects("--repo", self.repo, "bench")
        self.assertEqual(status, 0)
        self.assertEqual({o["type"] for o in objects}, {"bench"})
        figures = {o["figure"]: o for o in objects}
        self.assertEqual(figures["disk"]["unit"], "MB/s")
        self.assertGreater(figures["zstd 1"]["ratio"], 1)
        self.assertTrue(all(o["value"] > 0 for o in objects))
        self.assertEqual(files(), before)

    def test_without_a_repository_it_says_that_no_disk_was_measured(self):
        status, out, err = self.firn("bench")
        self.assertEqual(0, status)
        self.assertNotIn("disk", [line.split()[0] for line in out.splitlines()])
        self.assertIn("no disk was measured", err)

    def test_a_repository_that_is_not_there_is_an_error(self):
        self.error(10, "no_repository", "--repo", "/nowhere", "bench")


class Signals(Case):
    def test_usr1_does_no_harm(self):
        self.firn("init", self.repo)
        process = subprocess.Popen([FIRN, "--repo", self.repo, "check"],
                                   env=self.env, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        try:
            process.send_signal(signal.SIGUSR1)
        except ProcessLookupError:
            pass
        process.communicate(timeout=60)
        # Before main() has run the signal still kills.
        self.assertIn(process.returncode, (0, -signal.SIGUSR1))


def parse_metrics(text):
    """Prometheus' text format, strictly: {(name, labels): value}. HELP and
    TYPE once a name and before it, the lines of a name together, no sample
    twice, a newline at the end."""
    name = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
    label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
    sample = re.compile(
        r"(%s)(?:\{(%s(?:,%s)*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$"
        % (name, label, label))
    assert text.endswith("\n") and "\r" not in text, text
    found, seen, helped, current = {}, set(), None, None
    for line in text[:-1].split("\n"):
        words = line.split(" ", 3)
        if line.startswith("# HELP "):
            assert words[2] not in seen and len(words) == 4, line
            helped = words[2]
        elif line.startswith("# TYPE "):
            assert words[2] == helped and words[3] == "gauge", line
            current = helped
            seen.add(current)
        else:
            match = sample.match(line)
            assert match and match.group(1) == current, line
            key = match.group(1), match.group(2) or ""
            assert key not in found, line
            found[key] = float(match.group(3))
    return found


class Run(Case):
    def config(self, text):
        path = os.path.join(self.folder, "config")
        with open(path, "w") as f:
            f.write("repository = %s\n" % self.repo + text)
        return path

    def test_a_config_is_asked_for_and_checked(self):
        self.assertIn("no config file", self.error(1, "not_found",
                                                   "run")["message"])
        self.error(1, "not_found", "run", "--config", "/nowhere/x")
        for text, message in (
                ("", "has no VM"),
                ("[vm a]\nsocket = /a\nevry = 1h\n", ":4: unknown key 'evry'"),
                ("jobs = 0\n[vm a]\nsocket = /a\n", "'jobs'")):
            told = self.error(2, "usage", "run", "--config",
                              self.config(text))
            self.assertIn(message, told["message"])
        told = self.error(2, "usage", "run", "--config",
                          self.config("[vm a]\nsocket = /a\n"), "b")
        self.assertIn("no VM 'b'", told["message"])

    def test_what_does_not_run_is_passed_over_unless_required(self):
        self.firn("init", self.repo)
        path = self.config("[vm a]\nsocket = %s/a\n" % self.folder)
        self.expect(0, "", "", "run", "--config", path)
        status, objects = self.objects("run", "--config", path)
        self.assertEqual(0, status)
        self.assertEqual([("vm", "not_running"), ("repository", "ok"),
                          ("run", None)],
                         [(o["type"], o.get("result")) for o in objects])
        path = self.config("[defaults]\nrequired = yes\n[vm a]\nsocket = %s/a"
                           "\n" % self.folder)
        status, out, err = self.firn("run", "--config", path)
        self.assertEqual((20, ""), (status, out))
        self.assertRegex(err, r"^firn: a: the VM does not run: [^\n]*\n$")

    def test_the_environment_counts_before_the_config(self):
        self.firn("init", self.repo)
        path = self.config("[vm a]\nsocket = %s/a\n" % self.folder)
        self.env["FIRN_REPOSITORY"] = other = os.path.join(self.folder, "o")
        _, objects = self.objects("run", "--config", path)
        self.assertEqual(other, objects[0]["repository"])
        _, objects = self.objects("--repo", "/x", "run", "--config", path)
        self.assertEqual("/x", objects[0]["repository"])

    def test_metrics_are_what_prometheus_reads(self):
        self.firn("init", self.repo)
        file = os.path.join(self.folder, "firn.prom")
        with open(file, "w") as f:
            f.write('firn_last_success_timestamp_seconds{vm="b\\"c"} 1700000000\n'
                    'firn_last_success_timestamp_seconds{vm="gone"} 1\n')
        path = self.config("""
metrics-file = %s
[vm a]
socket = %s/a
[vm b"c]
socket = %s/b
required = yes
""" % (file, self.folder, self.folder))
        self.assertEqual(20, self.firn("run", "--config", path)[0])
        with open(file) as f:
            found = parse_metrics(f.read())
        self.assertEqual(0, found["firn_success", 'vm="a"'])
        self.assertEqual(0, found["firn_vm_running", 'vm="b\\"c"'])
        self.assertEqual(1700000000, found[
            "firn_last_success_timestamp_seconds", 'vm="b\\"c"'])
        self.assertEqual(20, found["firn_run_exit_status", ""])
        self.assertNotIn('vm="gone"', {labels for _, labels in found})
        self.assertEqual(["firn.prom"], [n for n in os.listdir(self.folder)
                                         if n.startswith("firn.prom")])
        status, _, err = self.firn("run", "--config", path, "--metrics-file",
                                   "/nowhere/x.prom", "a")
        self.assertEqual(1, status)
        self.assertRegex(err, r"^firn: /nowhere/x.prom: cannot write [^\n]*\n$")


if __name__ == "__main__":
    unittest.main(verbosity=2)
