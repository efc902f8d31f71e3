/*
 * banned.h - functions that must not compile here: they overflow, truncate
 * without a word, or keep hidden state. Included by error.h, so by everybody.
 */
#ifndef FIRN_CORE_BASE_BANNED_H
#define FIRN_CORE_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets
#pragma GCC poison strtok gmtime localtime ctime asctime tmpnam mktemp atoi

#endif
