/* SPDX-License-Identifier: Apache-2.0
 * ppv.media and ppv.blob (bind_blob.c). Module openers. */
#ifndef BIND_BIND_MEDIA_H
#define BIND_BIND_MEDIA_H
#include <lua.h>
int bind_media_open(lua_State *L);
int bind_media_blob(lua_State *L);
/* Adds match and score (bind_trace.c) to the table on top. */
void bind_media_trace(lua_State *L);
#endif
