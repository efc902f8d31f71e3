"""What the new pages of an image need, compressed alone."""
import os
import shutil
import subprocess

from vm import ROOT


def between(old, new):
    """{pages, zero, new, bytes} of the raw image `new` against `old`."""
    tool = os.environ.get("FIRN_NEW_PAGES") or (
        f"{ROOT}/build/bench/lib/new_pages")
    out = subprocess.run([tool, old, new], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return {k: int(v) for k, v in (word.split("=") for word in out.split())}


# Where machine pc leaves a hole for devices: of 3.5 GiB and more, what is behind
# the third GiB lies above the fourth.
HOLE_FROM = 3 << 30
HOLE_END = 4 << 30
HOLE_SINCE = 0xe0000000


def parts(ram_bytes):
    """(address, bytes) of each piece of RAM."""
    if ram_bytes < HOLE_SINCE:
        return [(0, ram_bytes)]
    return [(0, HOLE_FROM), (HOLE_END, ram_bytes - HOLE_FROM)]


def take_image(vm, path):
    """The VM's RAM as a raw file, of one instant."""
    piece = path + ".part"
    vm.qmp("stop")
    with open(path, "wb") as image:
        for address, size in parts(vm.mib << 20):
            vm.qmp("pmemsave", val=address, size=size, filename=piece)
            with open(piece, "rb") as f:
                shutil.copyfileobj(f, image, 1 << 20)
            os.unlink(piece)
    vm.qmp("cont")
