/*
 * suggest.h - "did you mean ...?": the nearest of some words. Pure.
 */
#ifndef FIRN_CLI_SUGGEST_H
#define FIRN_CLI_SUGGEST_H

#include "core/base/compiler.h"

/* How many letters must be inserted, deleted, replaced or swapped with their
 * neighbour to make `a` of `b`. Words longer than 63 bytes are far from all. */
unsigned suggest_distance(const char *a, const char *b);

/* Keeps `candidate` in *best when it is nearer to `word` than what is there,
 * and near enough to be meant; *best starts as NULL. */
void suggest_consider(const char *word, const char *candidate,
                      const char **best);

#endif
