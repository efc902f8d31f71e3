#include "snapshot/capture_mode.h"

/* QEMU before 9.0 clears its dirty bitmap between the rounds of a precopy
 * without telling TCG, so later writes to the same pages go unseen. */
static bool precopy_loses_writes(const struct capture_vm *vm)
{
    return vm->tcg && vm->running && vm->version < QEMU_TCG_PRECOPY_RIGHT;
}

static int choose_stream(const struct capture_vm *vm, enum snapshot_mode *ret,
                         struct error *err)
{
    if (precopy_loses_writes(vm)) {
        fail(err, ERR_UNSUPPORTED,
             "mode stream would give a snapshot that is silently wrong: QEMU "
             "before 9.0 under TCG does not see all writes of a running guest");
        return error_hint(err, "use --mode background, or pause the VM for "
                               "the capture");
    }
    *ret = SNAPSHOT_STREAM;
    return 0;
}

static int choose_background(const struct capture_vm *vm,
                             enum snapshot_mode *ret, struct error *err)
{
    if (!vm->can_background) {
        fail(err, ERR_UNSUPPORTED, "this QEMU has no background snapshots");
        return error_hint(err, "%suse --mode stream",
                          precopy_loses_writes(vm) ? "pause the VM and " : "");
    }
    if (!vm->running && vm->version < QEMU_BACKGROUND_KEEPS_PAUSE) {
        fail(err, ERR_UNSUPPORTED,
             "mode background would start this VM, which is paused: QEMU "
             "before 10.0 does so");
        return error_hint(err, "use --mode stream: it leaves the VM paused");
    }
    *ret = SNAPSHOT_BACKGROUND;
    return 0;
}

int capture_mode_choose(enum snapshot_mode asked, const struct capture_vm *vm,
                        struct capture_choice *ret, struct error *err)
{
    *ret = (struct capture_choice){.reason = "it was asked for"};
    if (asked == SNAPSHOT_STREAM)
        return choose_stream(vm, &ret->mode, err);
    if (asked == SNAPSHOT_BACKGROUND)
        return choose_background(vm, &ret->mode, err);
    if (!precopy_loses_writes(vm)) {
        ret->reason = vm->running
                          ? "it slows the guest least, and stops it for a "
                            "moment at the end"
                          : "the VM stands still, and nothing is written "
                            "meanwhile";
        return choose_stream(vm, &ret->mode, err);
    }
    ret->reason = "QEMU before 9.0 under TCG does not see all writes of a "
                  "running guest during a live stream";
    ret->unusual = true;
    return choose_background(vm, &ret->mode, err);
}

int capture_mode_choose_again(const struct capture_vm *vm,
                              struct capture_choice *ret, struct error *err)
{
    *ret = (struct capture_choice){
        .reason = "a stream did not converge: the guest writes faster than "
                  "its memory is read",
        .unusual = true,
    };
    return choose_background(vm, &ret->mode, err);
}

const char *capture_mode_name(enum snapshot_mode mode)
{
    return mode == SNAPSHOT_BACKGROUND ? "background" : "stream";
}
