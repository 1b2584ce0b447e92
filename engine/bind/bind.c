/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind.h"

#include "bind/bind_burst.h"
#include "bind/bind_core.h"
#include "bind/bind_crypto.h"
#include "bind/bind_db.h"
#include "bind/bind_events.h"
#include "bind/bind_evm.h"
#include "bind/bind_http.h"
#include "bind/bind_json.h"
#include "bind/bind_ledger.h"
#include "bind/bind_media.h"
#include "bind/bind_net.h"
#include "bind/bind_play.h"
#include "bind/bind_plugin.h"
#include "lua/gen.h"
#include "lua/vm.h"

static struct bind_env empty;
static struct bind_env *current = &empty;

struct bind_env *bind_env(void)
{
    return current;
}

void bind_open_all(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction open;
    } modules[] = {
        {"ppv.log", bind_core_log},         {"ppv.conf", bind_core_conf},
        {"ppv.time", bind_core_time},       {"ppv.cache", bind_core_cache},
        {"ppv.metrics", bind_core_metrics}, {"ppv.money", bind_money_open},
        {"ppv.json", bind_json_open},       {"ppv.crypto", bind_crypto_open},
        {"ppv.db", bind_db_open},           {"ppv.plugin_db", bind_db_open_plugin},
        {"ppv.http", bind_http_open},       {"ppv.fetch", bind_net_fetch},
        {"ppv.mail", bind_net_mail},        {"ppv.ledger", bind_ledger_open},
        {"ppv.media", bind_media_open},     {"ppv.burst", bind_burst_open},
        {"ppv.blob", bind_media_blob},      {"ppv.events", bind_events_open},
        {"ppv.plugin", bind_plugin_open},   {"ppv.playback", bind_play_open},
        {"ppv.evm", bind_evm_open},
    };
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        vm_module(L, modules[i].name, modules[i].open);
}

void bind_init(struct bind_env *env)
{
    current = env ? env : &empty;
    gen_set_opener(bind_open_all);
    gen_on_swap(bind_http_swap, NULL);
}
