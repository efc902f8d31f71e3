"""What the new pages of an image need, compressed alone."""
import os
import subprocess

from vm import ROOT


def between(old, new):
    """{pages, zero, new, bytes} of the raw image `new` against `old`."""
    tool = os.environ.get("FIRN_NEW_PAGES") or (
        f"{ROOT}/build/bench/lib/new_pages")
    out = subprocess.run([tool, old, new], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return {k: int(v) for k, v in (word.split("=") for word in out.split())}


def take_image(vm, path):
    """The VM's RAM as a raw file, of one instant."""
    vm.qmp("stop")
    vm.qmp("pmemsave", val=0, size=vm.mib << 20, filename=path)
    vm.qmp("cont")
