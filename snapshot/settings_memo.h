/*
 * settings_memo.h - QEMU's migration settings, kept where a kill cannot reach.
 *
 * A capture changes capabilities and parameters of QEMU and puts them back. One
 * that is killed in between cannot, and the next one would take its settings
 * for the user's. So they are written into a small file first, which lies in
 * the runtime folder under the name of the QEMU process (pid and start time)
 * and goes away when all is as it was. One thread; nothing here fails a
 * capture: without the file, settings may stay changed after a kill.
 */
#ifndef FIRN_SNAPSHOT_SETTINGS_MEMO_H
#define FIRN_SNAPSHOT_SETTINGS_MEMO_H

#include <sys/types.h>

#include "core/base/json.h"

struct settings_memo {
    char path[160]; /* "" when QEMU's process is not known */
};

/* `folder`: where; `pid`: QEMU. Sweeps what belongs to processes of the past.
 */
void settings_memo_init(struct settings_memo *m, const char *folder, pid_t pid);

/* What a killed capture had found; NULL if nothing. The caller owns it. */
json_t *settings_memo_recall(const struct settings_memo *m);
/* Writes it, unless one is there already: that is the true one. */
void settings_memo_keep(const struct settings_memo *m, const json_t *settings);
/* All is as it was found: removes the file. */
void settings_memo_forget(const struct settings_memo *m);

#endif
