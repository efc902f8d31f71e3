#!/usr/bin/env python3
"""The Debian package, installed, used and removed: as root, on this machine.

    DEB=build/package/firn_0.1.0_amd64.deb tests/package/test_package.py

Without DEB, scripts/package builds one. A package that is installed already is
left alone: then the test refuses to run.
"""
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
import lab  # noqa: E402

CONFIG = "/etc/firn/config"
REPOSITORY = "/var/lib/firn"


def run(*argv, check=True, **kwargs):
    done = subprocess.run(argv, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{shlex.join(argv)}: status {done.returncode}\n"
                             f"{done.stdout}")
    return done.stdout


def package():
    if os.environ.get("DEB"):
        return os.path.abspath(os.environ["DEB"])
    folder = lab.tmpdir("firn-deb-")
    run(lab.ROOT + "/scripts/package", folder)
    return glob.glob(folder + "/firn_*.deb")[0]


def refuse_what_is_there():
    if os.geteuid() != 0:
        raise lab.Skip("installing a package needs root")
    for path in (CONFIG, REPOSITORY, "/usr/bin/firn"):
        if os.path.exists(path):
            raise lab.Skip(f"{path} is there already")


def install(deb):
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", deb,
        env=env)


def remove():
    """The package, and what was ours to make: config and repository."""
    run("apt-get", "remove", "-y", "-qq", "firn", check=False)
    run("apt-get", "purge", "-y", "-qq", "firn", check=False)
    run("rm", "-rf", REPOSITORY, CONFIG)
    if os.path.isdir("/etc/firn"):
        os.rmdir("/etc/firn")


def start_service():
    """As the timer would: by systemd where it runs, else what it runs."""
    if os.path.isdir("/run/systemd/system"):
        run("systemctl", "start", "firn-run.service")
        return
    with open("/lib/systemd/system/firn-run.service") as f:
        line = re.search(r"(?m)^ExecStart=(.*)$", f.read()).group(1)
    done = subprocess.run(shlex.split(line), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def look_round(files):
    assert "firn 0." in run("/usr/bin/firn", "version")
    for name in ("/usr/share/man/man1/firn.1.gz",
                 "/usr/share/man/man1/firn-run.1.gz",
                 "/usr/share/man/man5/firn-config.5.gz",
                 "/usr/share/man/man5/firn-format.5.gz",
                 "/usr/share/man/man7/firn-recovery.7.gz",
                 "/usr/share/man/man7/firn-security.7.gz",
                 "/usr/share/bash-completion/completions/firn",
                 "/usr/share/doc/firn/examples/config",
                 "/lib/systemd/system/firn-run.service",
                 "/lib/systemd/system/firn-run.timer"):
        assert name in files, name
    if not shutil.which("systemd-analyze"):
        return
    told = run("systemd-analyze", "verify", "--man=no",
               "/lib/systemd/system/firn-run.service",
               "/lib/systemd/system/firn-run.timer")
    assert "firn" not in told, told
    enabled = run("systemctl", "is-enabled", "firn-run.timer", check=False)
    assert "enabled" not in enabled.replace("disabled", ""), enabled


def use():
    with lab.Guest("10.0", mem=160, name="web",
                   kernel_args="firn.mb=48 firn.rate=200") as guest:
        guest.wait_heartbeat(3)
        run("/usr/bin/firn", "init", REPOSITORY)
        example = "/usr/share/doc/firn/examples/config"
        # Containers leave documents out.
        if not os.path.exists(example):
            example = lab.ROOT + "/contrib/config"
        with open(example) as f:
            text = f.read()
        assert "socket = /run/vm/web.qmp" in text
        os.makedirs("/etc/firn", exist_ok=True)
        with open(CONFIG, "w") as f:
            f.write(text.replace("/run/vm/web.qmp", guest.qmp_path))
        start_service()
        listed = [json.loads(line) for line in
                  run("/usr/bin/firn", "list", "--json").splitlines()]
        assert [s["vm"] for s in listed] == ["web"], listed
        guest.assert_good()
        guest.kill()
        mark = guest.serial_size()
        run("/usr/bin/firn", "restore", "web@latest")
        back = lab.Guest.attach(guest.dir)
        back.wait_heartbeat(1, since=mark)
        back.assert_good()
        back.kill()
    run("/usr/bin/firn", "check", "--read-data")
    return listed[0]["id"]


def test_it_installs_works_and_leaves_nothing():
    refuse_what_is_there()
    deb = package()
    files = []
    try:
        install(deb)
        files = run("dpkg", "-L", "firn").splitlines()
        look_round(files)
        taken = use()
    finally:
        remove()
    left = [f for f in files if os.path.exists(f) and not os.path.isdir(f)]
    left += [f for f in files if os.path.basename(f) == "firn"
             and os.path.exists(f)]
    # Others may restore on this machine: what is theirs is not ours.
    left += glob.glob(f"/run/firn/{taken}*") + glob.glob("/run/firn/vm-*")
    if os.path.isdir("/run/firn") and not os.listdir("/run/firn"):
        left += ["/run/firn"]
    assert files and not left, left
    assert "firn" not in run("dpkg-query", "-W", "-f",
                             "${Package}\n").splitlines()


if __name__ == "__main__":
    lab.main(globals())
