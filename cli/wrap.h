/*
 * wrap.h - text broken into lines of at most 80 columns. Pure.
 */
#ifndef FIRN_CLI_WRAP_H
#define FIRN_CLI_WRAP_H

#include "core/base/buf.h"

#define WRAP_COLUMNS 79u

/*
 * Appends `text` and a newline. The line stands at `column` already; lines
 * that follow start behind `indent` blanks. Words are broken apart at blanks
 * only, and what stands in [brackets] stays together. A newline in `text`
 * starts a new line.
 */
int wrap_text(struct buf *b, const char *text, size_t column, size_t indent,
              struct error *err) NODISCARD;

#endif
