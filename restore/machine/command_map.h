/*
 * command_map.h - OLD=NEW: what differs between a VM and its copy.
 *
 * Paths, sockets, host interfaces and MAC addresses of a recorded command line
 * are replaced where they stand as a whole: at the beginning of a word or
 * behind one of  = , : "  and before the end of the word or one of  , : / "
 * (a port number also before the  -  of a forwarding).
 * So "/vm/a=/vm/b" moves all that lies below /vm/a, and leaves /vm/ab alone.
 * Where several fit, the longest OLD does; what was replaced is not looked at
 * again. Pure; one thread.
 */
#ifndef FIRN_RESTORE_MACHINE_COMMAND_MAP_H
#define FIRN_RESTORE_MACHINE_COMMAND_MAP_H

#include "core/base/buf.h"

#define COMMAND_MAP_MAX 64u

struct command_map_rule {
    char *from; /* owned */
    const char *to;
    bool used;
};

struct command_map {
    struct command_map_rule rules[COMMAND_MAP_MAX];
    size_t n;
};

/* "OLD=NEW", borrowed; ERR_USAGE. OLD ends at the first "=". */
int command_map_add(struct command_map *m, const char *text,
                    struct error *err) NODISCARD;

/* Appends `word` with everything replaced, and marks the rules that did. `m`
 * may be NULL. */
int command_map_apply(struct command_map *m, const char *word, struct buf *ret,
                      struct error *err) NODISCARD;
/* Whether one of the rules replaces something in it; marks none. */
bool command_map_touches(const struct command_map *m, const char *word);

/* ERR_USAGE names a rule that replaced nothing. */
int command_map_check_used(const struct command_map *m,
                           struct error *err) NODISCARD;

/* Frees the copies of OLD; an empty map remains. */
void command_map_release(struct command_map *m);

#endif
