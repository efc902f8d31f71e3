#!/usr/bin/env python3
"""Manual pages, completion and units say what the program does.

    FIRN=build/cli/firn PAGES=build/docs UNIT=build/contrib/firn-run.service \\
        tests/cli/test_manual.py [Class.test ...]
"""
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

FIRN = os.path.abspath(os.environ.get("FIRN") or "build/cli/firn")
PAGES = os.path.abspath(os.environ.get("PAGES") or "build/docs")
UNIT = os.path.abspath(os.environ.get("UNIT")
                       or "build/contrib/firn-run.service")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def firn_help(*words):
    return subprocess.run([FIRN, "help", *words], stdout=subprocess.PIPE,
                          text=True, check=True).stdout


def commands():
    table = firn_help().split("Commands:\n")[1].split("\n\n")[0]
    return [c for c in re.findall(r"^  ([\w-]+)", table, re.M) if c != "help"]


def options(command):
    text = firn_help(command).split("Options of every command:")[0]
    return re.findall(r"^  (?:-\w, |    )--([a-z][a-z-]*)", text, re.M)


class Manual(unittest.TestCase):
    def test_each_command_has_its_page_with_each_of_its_options(self):
        pages = [os.path.basename(p)[5:-2] for p in glob.glob(PAGES + "/*.1")]
        self.assertEqual(sorted(pages), sorted(commands()))
        for command in commands():
            page = read(PAGES, "firn-%s.1" % command)
            named = re.findall(r"Fl -([a-z][a-z-]*)", page)
            for option in options(command):
                self.assertIn(option, named, command)
            unknown = set(named) - set(options(command)) - {"repo"}
            # Others' options may be named in sentences, such as --qmp's.
            for option in re.findall(r"(?m)^\.It (?:Fl \w , )?Fl -([a-z-]+)",
                                     page):
                self.assertNotIn(option, unknown, command)

    def test_pages_have_no_warnings(self):
        if not shutil.which("groff"):
            self.skipTest("no groff")
        pages = glob.glob(PAGES + "/*.1") + glob.glob(ROOT + "/docs/*.1") \
            + glob.glob(ROOT + "/docs/man/*.[1-9]")
        self.assertGreater(len(pages), 20)
        for page in pages:
            done = subprocess.run(
                ["groff", "-mdoc", "-Tutf8", "-ww", "-z", page],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual((0, ""), (done.returncode, done.stdout), page)

    def test_references_lead_to_pages(self):
        there = {os.path.basename(p) for p in glob.glob(PAGES + "/*.1")} \
            | {os.path.basename(p) for p in glob.glob(ROOT + "/docs/man/*.?")} \
            | {"firn.1", "qemu-system-x86_64.1"}
        for page in glob.glob(PAGES + "/*.1") + [ROOT + "/docs/firn.1"] \
                + glob.glob(ROOT + "/docs/man/*.[1-9]"):
            for name, section in re.findall(r"(?m)^\.Xr (\S+) (\d)",
                                            read(page)):
                self.assertIn("%s.%s" % (name, section), there, page)

    def test_the_configs_page_has_every_key_and_metric(self):
        page = read(ROOT, "docs/man/firn-config.5")
        source = read(ROOT, "cli/config.c")
        tables = re.findall(r"option_spec config\w*_keys\[\] = \{(.*?)\{0\}",
                            source, re.S)
        self.assertEqual(2, len(tables))
        for table in tables:
            for key in re.findall(r'\{"([a-z-]+)"', table):
                self.assertRegex(page, r"(?m)^\.It Cm %s = " % key)
        for option in options("forget"):
            if option.startswith("keep-"):
                self.assertRegex(page, r"\b%s\b" % option)
        for metric in re.findall(r'"(firn_\w+)"', read(ROOT, "cli/metrics.h")):
            self.assertRegex(page, r"(?m)^\.It Cm .*\b%s\b" % metric)


class Completion(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="firn-completion-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        os.makedirs(self.folder + "/firn")
        with open(self.folder + "/firn/config", "w") as f:
            f.write("repository = %s/r\n[vm web1]\nsocket = /a\n[ vm web 2 ]\n"
                    "socket = /b\n[vm db]\nsocket = /c\n"
                    "[vm $(touch %s/pwned)]\nsocket = /d\n"
                    % (self.folder, self.folder))
        memory = self.folder + "/memory"
        with open(memory, "wb") as f:
            f.write(b"x" * 8192)
        self.env = {"PATH": os.path.dirname(FIRN) + ":" + os.environ["PATH"],
                    "XDG_CONFIG_HOME": self.folder, "HOME": self.folder}
        self.ids = {}
        subprocess.run([FIRN, "init", self.folder + "/r"], env=self.env,
                       check=True, stdout=subprocess.DEVNULL)
        for name in ("web1", "$(touch %s/pwned)" % self.folder):
            done = subprocess.run(
                [FIRN, "--json", "import", "--format", "raw", "--name", name,
                 memory], env=self.env, check=True, stdout=subprocess.PIPE,
                text=True)
            self.ids[name] = json.loads(done.stdout.splitlines()[-1])["id"]

    def complete(self, *words):
        code = """source "$1"; shift
            COMP_WORDS=(firn "$@"); COMP_CWORD=$#
            _firn; printf '%s\\n' "${COMPREPLY[@]}" """
        done = subprocess.run(
            ["bash", "-c", code, "bash", ROOT + "/cli/completion/firn.bash",
             *words], env=self.env, stdout=subprocess.PIPE, text=True,
            check=True)
        return [w for w in done.stdout.splitlines() if w]

    def test_vms_and_ids_are_offered(self):
        self.assertEqual(["web1"], self.complete("list", "we"))
        self.assertEqual(["web1"], self.complete("forget", "--vm", "we"))
        self.assertEqual(["web1", "web\\ 2"], self.complete("run", "we"))
        first = self.ids["web1"]
        self.assertEqual([first], self.complete("show", first[:8]))
        self.assertEqual(["latest"], self.complete("restore", "lat"))
        self.assertEqual(["snapshot"], self.complete("sn"))
        self.assertIn("--dry-run", self.complete("run", "--d"))

    def test_a_vms_name_is_never_run(self):
        for words in (["list", ""], ["run", ""], ["forget", "--vm", "$"],
                      ["show", ""]):
            self.complete(*words)
        self.assertFalse(os.path.exists(self.folder + "/pwned"))


class Units(unittest.TestCase):
    """What systemd thinks of them; it need not run."""

    def setUp(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd-analyze")
        self.folder = tempfile.mkdtemp(prefix="firn-units-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.service = self.folder + "/firn-run.service"
        with open(self.service, "w") as f:
            f.write(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=" + FIRN,
                           read(UNIT)))
        shutil.copy(ROOT + "/contrib/firn-run.timer", self.folder)

    def analyze(self, *words):
        return subprocess.run(["systemd-analyze", *words],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)

    def test_they_verify(self):
        done = self.analyze("verify", "--man=no", self.service,
                            self.folder + "/firn-run.timer")
        ours = [line for line in done.stdout.splitlines() if "firn" in line]
        self.assertEqual((0, []), (done.returncode, ours), done.stdout)
        # And it does find what is wrong.
        with open(self.service, "a") as f:
            f.write("[Service]\nProtectSystm=strict\n")
        done = self.analyze("verify", "--man=no", self.service)
        self.assertIn("ProtectSystm", done.stdout)

    def test_the_service_is_well_locked_up(self):
        done = self.analyze("security", "--offline=true", "--no-pager",
                            "--threshold=35", self.service)
        if "nrecognized option" in done.stdout:
            self.skipTest("this systemd-analyze cannot do it offline")
        self.assertEqual(0, done.returncode, done.stdout)

    def test_its_command_line_is_one_of_ours(self):
        line = re.search(r"(?m)^ExecStart=\S+ (.*)$", read(UNIT)).group(1)
        cron = re.search(r"firn (run .*)$", read(ROOT, "contrib/firn.cron"),
                         re.M).group(1)
        for words in (line.split(), cron.split()):
            done = subprocess.run([FIRN, *words, "--config", "/nowhere/x"],
                                  stderr=subprocess.PIPE, text=True)
            self.assertIn("/nowhere/x", done.stderr)
            self.assertEqual(1, done.returncode)

    def test_the_example_config_is_right(self):
        done = subprocess.run([FIRN, "--json", "run", "--dry-run", "--config",
                               ROOT + "/contrib/config"], text=True,
                              stdout=subprocess.PIPE)
        told = json.loads(done.stdout.splitlines()[0])
        self.assertEqual(("vm", "web"), (told["type"], told["vm"]), done)


if __name__ == "__main__":
    unittest.main(verbosity=2)
