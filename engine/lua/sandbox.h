/* SPDX-License-Identifier: Apache-2.0
 * Environments of plugin code and the load-phase module `ppv.host`. Contains mistakes, not attackers. Loop thread.
 *
 * ppv.host (trusted code only; load phase unless marked *):
 *   plugins() -> { {name=, disabled=bool}, ... } sorted by name
 *   load_manifest(name) -> table | nil, err      manifest.lua, text only, empty environment, CPU limit; err is recorded
 *   load(name, path, kind, caps) -> value | nil, err   runs the chunk in the environment of scripts/sandbox/<kind>.lua;
 *        every function in the returned value is wrapped at the plugin boundary; err {file,line,text} is recorded
 *   check(name, path) -> true | nil, err         compiles only
 *   source_hash(name)* -> hex     fail(plugin|nil, file, line, text)      records a problem (nil plugin: refuses the bundle)
 *   cold -> bool: problems of plugins leave the plugin out (cold start) instead of refusing the bundle (reload)
 *   readonly(t)* -> proxy: reads pass, writes raise; pairs, ipairs and # see through it in plugin code
 *   copy(t)* -> deep copy of plain data     files(prefix)* -> {path=bytes} of the bundle     bundle()* -> {id,hash}
 * At the boundary a plugin's error becomes {code="plugin.error"|"engine.limit", message, plugin}. */
#ifndef LUA_SANDBOX_H
#define LUA_SANDBOX_H
#include <lua.h>
void sandbox_open(lua_State *L); /* registers ppv.host; called by gen_build */
#endif
