"""A guest of 32 GiB of which 1 GiB is written: what of a capture grows with RAM
that is not used. Against QEMU's migration to a process that drops what it reads,
which is the least that QEMU itself needs."""
import shutil
import time

import measure
from savers import firn_saver
from vm import Vm, folder, lab

MIB = 32 * 1024
# The kernel writes half a GiB by itself for so much RAM (struct page).
FILL_MIB = 512
MEMORY = "memory-backend-ram,id=pc.ram,size=32G,reserve=off"


def index_bytes(repo):
    """What the last snapshot's index takes: its object and index packs."""
    shown = lab.firn_json("--repo", repo, "--json", "show", "latest")[-1]
    packs = shown.get("packs") or []
    if isinstance(packs, list):
        inside = sum(p.get("bytes", 0) for p in packs
                     if p.get("kind") == "index")
    else:
        inside = 0
    return inside + measure.allocated(f"{repo}/snapshots")


def drop_all(vm):
    begin = time.monotonic()
    vm.prepare(max_bandwidth=0, downtime_limit=50)
    vm.migrate("exec:cat > /dev/null")
    return time.monotonic() - begin


def run(runs, say):
    vm = Vm(MIB, FILL_MIB, memory=MEMORY)
    say(f"-- 32 GiB guest: {vm.boot()}")
    rows = []
    try:
        where = folder("/dev/shm")
        save = firn_saver()
        for _ in range(runs):
            row = {}

            def begin(row=row):
                row["begin"] = time.monotonic()

            told = save(vm, where, {"begin": begin})
            row["firn_s"] = time.monotonic() - row.pop("begin")
            row["pages"] = told["firn"]["pages"]["stored"]
            row["firn_cpu_s"] = told["firn_cpu_s"]
            row["peak_mib"] = told["peak_mib"]
            row["stored_mb"] = measure.allocated(where) / 1e6
            row["index_bytes_a_page"] = (
                index_bytes(f"{where}/repo") / row["pages"])
            shutil.rmtree(f"{where}/repo")
            time.sleep(1)
            row["drop_s"] = drop_all(vm)
            time.sleep(1)
            say(str({k: round(v, 2) for k, v in row.items()}))
            rows.append(row)
    finally:
        vm.close()
    return {"big": rows}
