/* SPDX-License-Identifier: Apache-2.0
 * What Lua may read of its request. Nothing is copied until it is asked for: most handlers look at two or three of these. */
#include "bind/bind_http.h"

#include <string.h>
#include "http/msg.h"
#include "lua/lx.h"

static int push_params(lua_State *L, const struct bind_http *h)
{
    lua_createtable(L, 0, h->match.nparams);
    for (int i = 0; i < h->match.nparams; i++) {
        lua_pushlstring(L, h->match.params[i].value.p, h->match.params[i].value.n);
        lua_setfield(L, -2, h->match.params[i].name);
    }
    return 1;
}

/* Repeated headers are joined as RFC 9110 allows; cookies as RFC 6265 does. */
static int push_header(lua_State *L, const struct http_req *r, const char *name)
{
    bool found = false;
    for (int i = 0; i < r->nheaders; i++) {
        if (strcmp(r->headers[i].name, name) != 0)
            continue;
        if (found)
            lua_pushstring(L, strcmp(name, "cookie") == 0 ? "; " : ", ");
        lua_pushstring(L, r->headers[i].value);
        if (found)
            lua_concat(L, 3);
        found = true;
    }
    if (!found)
        lua_pushnil(L);
    return 1;
}

static int push_headers(lua_State *L, const struct http_req *r)
{
    lua_createtable(L, 0, r->nheaders);
    for (int i = 0; i < r->nheaders; i++) {
        push_header(L, r, r->headers[i].name);
        lua_setfield(L, -2, r->headers[i].name);
    }
    return 1;
}

/* ppv.http.header(name: string) -> string | nil
 * A header of the request by its name in lower case; repeated ones are joined. Phases: request.
 * Since 1.0 */
int bind_request_header(lua_State *L)
{
    struct bind_http *h = bind_http_seen(L);
    return push_header(L, h->r, luaL_checkstring(L, 1));
}

/* ppv.http.request(name: string) -> string | table | nil
 * A part of the request: method, path (decoded), query_text, host, ip, id, scheme, body (of a route
 * with body = "memory"), params {name = value}, headers {name = value} with names in lower case.
 * Phases: request. Since 1.0 */
int bind_request_part(lua_State *L)
{
    struct bind_http *h = bind_http_seen(L);
    const struct http_req *r = h->r;
    const struct {
        const char *name, *value;
    } texts[] = {
        {"method", r->method},
        {"path", r->path},
        {"id", r->id},
        {"ip", r->ip},
        {"host", r->host},
        {"scheme", r->https ? "https" : "http"},
        {"query_text", r->query},
    };
    const char *name = luaL_checkstring(L, 1);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(texts[i].name, name) == 0) {
            lua_pushstring(L, texts[i].value);
            return 1;
        }
    }
    if (strcmp(name, "params") == 0)
        return push_params(L, h);
    if (strcmp(name, "headers") == 0)
        return push_headers(L, r);
    if (strcmp(name, "body") == 0 && h->in_memory)
        lua_pushlstring(L, r->body.p ? r->body.p : "", r->body.n);
    else
        lua_pushnil(L);
    return 1;
}
