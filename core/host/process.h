/*
 * process.h - other processes, as /proc shows them. Any thread.
 *
 * A pid alone is no identity: with the start time (clock ticks since boot) and
 * the boot id it is.
 */
#ifndef FIRN_CORE_HOST_PROCESS_H
#define FIRN_CORE_HOST_PROCESS_H

#include <sys/types.h>

#include "core/base/json.h"

#define BOOT_ID_LEN 36u

/* ERR_NOTFOUND when there is no such process (zombies count as gone). */
int process_start_time(pid_t pid, uint64_t *ret_ticks,
                       struct error *err) NODISCARD;
/* Page faults so far, minor and major; 0 when nobody knows. */
uint64_t process_faults(pid_t pid);
/* Memory that it has touched and no file stands behind, in bytes; 0 when it is
 * not to be seen. */
uint64_t process_memory(pid_t pid);
/* The process with this pid and start time still lives. */
bool process_alive(pid_t pid, uint64_t start_ticks);
/* The kernel's id of this boot, text, NUL-terminated. */
int process_boot_id(char ret[static BOOT_ID_LEN + 1],
                    struct error *err) NODISCARD;
/* Arguments as a JSON array of strings (a new reference), and the working
 * directory (free() it). ERR_NOTFOUND: no such process. */
int process_command_line(pid_t pid, json_t **ret, struct error *err) NODISCARD;
int process_cwd(pid_t pid, char **ret, struct error *err) NODISCARD;

#endif
