"""How a running VM is put on storage: QEMU's own ways, and firn.

A saver is called with (vm, folder, context) and leaves its image in the folder;
it returns what it has to say beyond what everybody's clock sees. When it
returns, the guest runs and the tool says that it is done. What is to be timed
lies between the calls of context["begin"] and context["end"], or the saver's own
begin and end where it does not call them."""
import json
import os
import subprocess
import time

from vm import lab
import measure


class Refused(Exception):
    """This firn or this QEMU cannot do that."""


def limits(context):
    return {"max_bandwidth": 0, "downtime_limit": context["downtime_limit"]}


def save_file(vm, folder, context):
    vm.prepare(**limits(context))
    vm.migrate(f"file:{folder}/image")


def _save_exec(vm, folder, command):
    """`completed` says that QEMU has closed the pipe; the tool behind it is
    done when the mark is there."""
    vm.migrate(f"exec:{command} > {folder}/image; touch {folder}/mark")
    while not os.path.exists(f"{folder}/mark"):
        time.sleep(0.0005)
    os.unlink(f"{folder}/mark")


def save_cat(vm, folder, context):
    vm.prepare(**limits(context))
    _save_exec(vm, folder, "cat")


def save_zstd(vm, folder, context):
    vm.prepare(**limits(context))
    _save_exec(vm, folder, "zstd -q -1 -T0")


def save_mapped(vm, folder, context):
    vm.prepare("mapped-ram", "multifd", **limits(context), multifd_channels=2)
    vm.migrate(f"file:{folder}/image")


def save_background(vm, folder, context):
    vm.prepare("background-snapshot", **limits(context))
    _save_exec(vm, folder, "cat")


def save_savevm(vm, folder, context):
    # 10.0 crashes if it finds multifd and mapped-ram switched on.
    vm.prepare()
    path = f"{folder}/image"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path,
                    f"{vm.mib * 2}M"], check=True)
    vm.qmp("blockdev-add", driver="qcow2", node_name="vmstate",
           file={"driver": "file", "filename": path})
    context["begin"]()
    vm.qmp("snapshot-save", job_id="save", tag="bench", vmstate="vmstate",
           devices=["vmstate"])
    vm.monitor.wait_event("JOB_STATUS_CHANGE", 600, id="save",
                          status="concluded")
    context["end"]()
    jobs = [j for j in vm.qmp("query-jobs") if j["id"] == "save"]
    assert "error" not in jobs[0], jobs
    vm.qmp("job-dismiss", id="save")
    vm.qmp("blockdev-del", node_name="vmstate")


def new_repository(folder):
    path = f"{folder}/repo"
    lab.firn("init", path)
    return path


def firn_saver(*options, fresh=True):
    """firn with these options; fresh: into a repository of its own."""
    def save(vm, folder, context):
        repo = f"{folder}/repo"
        if fresh:
            new_repository(folder)
        context["begin"]()
        done = measure.run(
            [lab.firn_path(), "--repo", repo, "--json", "snapshot", "--qmp",
             vm.qmp_path, *options, *context.get("firn_options", ())],
            on_thread=context.get("on_thread"))
        if done.status == 2:
            raise Refused(done.err.strip() or done.out.strip())
        said = [json.loads(line) for line in done.out.splitlines()]
        # 3: complete, though the pause was longer than the budget.
        if done.status not in (0, 3):
            raise AssertionError(f"firn: {done.status}: {done.out}{done.err}")
        told = [o for o in said if o.get("type") == "snapshot"][-1]
        return {"firn": told, "firn_cpu_s": done.cpu_s,
                "peak_mib": done.peak_mib, "over_budget": done.status == 3}
    save.firn = True
    save.fresh = fresh
    return save


SAVERS = {
    "firn": firn_saver(),
    "firn-1": firn_saver("--channels", "1"),
    "firn-2": firn_saver("--channels", "2"),
    "firn-4": firn_saver("--channels", "4"),
    "firn-fast": firn_saver("--compression", "fastest"),
    "firn-none": firn_saver("--compression", "none"),
    "firn-background": firn_saver("--mode", "background"),
    "firn-second": firn_saver(fresh=False),
    "file": save_file,
    "cat": save_cat,
    "zstd": save_zstd,
    "mapped": save_mapped,
    "background": save_background,
    "savevm": save_savevm,
}
WHAT = {
    "firn": "firn, as it comes",
    "firn-1": "firn, 1 channel",
    "firn-2": "firn, 2 channels",
    "firn-4": "firn, 4 channels",
    "firn-fast": "firn, fastest compression",
    "firn-none": "firn, no compression",
    "firn-background": "firn, background",
    "firn-second": "firn, second snapshot",
    "file": "QEMU, file:",
    "cat": "QEMU, exec:cat",
    "zstd": "QEMU, exec:zstd -1 -T0",
    "mapped": "QEMU, mapped-ram, multifd 2",
    "background": "QEMU, background-snapshot, exec:cat",
    "savevm": "QEMU, savevm (guest stopped)",
}
