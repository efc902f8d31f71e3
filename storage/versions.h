/*
 * versions.h - door: the repository format written here, and the libraries that
 * write it. Any thread.
 */
#ifndef FIRN_STORAGE_VERSIONS_H
#define FIRN_STORAGE_VERSIONS_H

#include "core/base/json.h"

/* {"format": int, "libraries": {name: "1.2.3"}}, as loaded now, not as built
 * against. The caller owns *ret. */
int storage_versions(json_t **ret, struct error *err) NODISCARD;

#endif
