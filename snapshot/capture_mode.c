#include "snapshot/capture_mode.h"

#define OLD_TCG    "QEMU before 9.0 under TCG"
#define BLOCKS_TCG "QEMU under TCG, with memory in several backends,"
#define UNSEEN     "does not see all writes of a running guest"

/* Before 9.0 QEMU clears its dirty bitmap between the rounds of a precopy
 * without telling TCG, so later writes to the same pages go unseen. From then
 * on it tells TCG, but the wrong addresses for all memory that does not begin
 * at 0 of QEMU's own numbering: the backend that was made first does. Where a
 * later one is larger, an assertion ends QEMU instead. */
static bool loses_writes_beside(const struct capture_vm *vm)
{
    return vm->tcg && vm->version >= QEMU_TCG_PRECOPY_RIGHT &&
           vm->n_backends > 1;
}

bool capture_mode_needs_standstill(const struct capture_vm *vm)
{
    return loses_writes_beside(vm) ||
           (vm->tcg && vm->version < QEMU_TCG_PRECOPY_RIGHT);
}

static bool precopy_loses_writes(const struct capture_vm *vm)
{
    return vm->running && capture_mode_needs_standstill(vm);
}

static int choose_stream(const struct capture_vm *vm, enum snapshot_mode *ret,
                         struct error *err)
{
    if (precopy_loses_writes(vm)) {
        fail(err, ERR_UNSUPPORTED,
             "mode stream would give a snapshot that is silently wrong: "
             "%s " UNSEEN,
             loses_writes_beside(vm) ? BLOCKS_TCG : OLD_TCG);
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
    ret->reason = loses_writes_beside(vm)
                      ? BLOCKS_TCG " " UNSEEN " during a live stream"
                      : OLD_TCG " " UNSEEN " during a live stream";
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
