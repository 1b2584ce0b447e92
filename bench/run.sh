#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make bench`: the figures of the engine as ratios to peers of the same run; see bench/bench.mjs for the cases.
#   ROUNDS=3 SECS=3 CONNS=9500 UPLOAD_MB=512 ONLY=regex make bench       ONLY: some cases of bench.mjs and nothing else
# Then what viewers wait for (play.mjs), names in the picture (burst.mjs), ingest and its likeness (ingest.sh), the invisible mark (mark.sh).
# The nginx of the comparison is ours alone: private prefix, private configuration, ended by its pid.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
cache=$PWD/$BUILD/bench work=$(mktemp -d /tmp/ppv-bench-XXXXXX) nginx_pid=
chmod 755 "$work"

clean() {
    if [ -n "$nginx_pid" ]; then kill "$nginx_pid" 2>/dev/null || true; wait "$nginx_pid" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

PATH=$PATH:/usr/sbin
for tool in wrk nginx pgbench node curl; do
    command -v "$tool" >/dev/null || { echo "bench: $tool is missing: apt-get install wrk nginx-light postgresql nodejs curl" >&2; exit 1; }
done

# libnginx-mod-http-lua must never be installed: its LuaJIT would replace the one we link. Unpacked it harms nobody.
lua=$cache/lua modules=$cache/lua/usr/lib/nginx/modules
if ! [ -e "$lua/.done" ]; then
    rm -rf "$cache" && mkdir -p "$cache/debs" "$lua"
    (cd "$cache/debs" && apt-get download -qq libnginx-mod-http-lua libnginx-mod-http-ndk libluajit2-5.1-2 libluajit2-5.1-common \
        libpcre3 lua-resty-core lua-resty-lrucache && for deb in *.deb; do dpkg-deb -x "$deb" "$lua" || exit 1; done &&
        touch "$lua/.done") >"$cache/log" 2>&1 || echo "bench: nginx-lua cannot be had, see $cache/log" >&2
fi

port=$((20000 + RANDOM % 9000))
mkdir -p "$work/static" "$work/tmp"
start_nginx() { # load_module lines, http lines, what /hello does, library path
    cat >"$work/nginx.conf" <<NGINX
$1
worker_processes 2;
daemon off;
pid $work/nginx.pid;
events { worker_connections 16384; }
http {
    include /etc/nginx/mime.types;
    default_type application/json;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    access_log off;
    client_body_temp_path $work/tmp; proxy_temp_path $work/tmp; fastcgi_temp_path $work/tmp;
    uwsgi_temp_path $work/tmp; scgi_temp_path $work/tmp;
    $2
    server {
        listen 127.0.0.1:$port reuseport backlog=8192;
        location = /hello { $3 }
        location = /hello_logged { access_log $work/access.log; $3 }
        location /public/ { alias $work/static/; }
    }
}
NGINX
    LD_LIBRARY_PATH=$4 nginx -p "$work" -c "$work/nginx.conf" -e "$work/nginx.err" 2>/dev/null &
    nginx_pid=$!
    for _ in $(seq 100); do
        curl -s "http://127.0.0.1:$port/hello" | grep -q hello && return 0
        kill -0 "$nginx_pid" 2>/dev/null || break
        sleep 0.05
    done
    tail -3 "$work/nginx.err" >&2
    kill "$nginx_pid" 2>/dev/null || true
    return 1
}
peer=nginx-lua
if ! [ -e "$lua/.done" ] || ! start_nginx "load_module $modules/ndk_http_module.so; load_module $modules/ngx_http_lua_module.so;" \
    "lua_package_path '$lua/usr/share/lua/5.1/?.lua;;'; init_by_lua_block { cjson = require 'cjson' }" \
    "content_by_lua_block { ngx.print(cjson.encode { ok = true, message = 'hello' }) }" "$lua/usr/lib/x86_64-linux-gnu:$lua/lib/x86_64-linux-gnu"; then
    peer="nginx return 200"
    echo "bench: no nginx-lua, the peer is nginx return 200: the targets do not apply to it" >&2
    start_nginx "" "" "return 200 '{\"ok\":true,\"message\":\"hello\"}';" ""
fi

ulimit -n "$(ulimit -H -n)"
WORK=$work NGINX_PID=$nginx_pid NGINX_PORT=$port PEER=$peer PPV=$PWD/$BUILD/ppv node bench/bench.mjs

[ -z "${ONLY:-}" ] || exit 0
# Each of these is a command of its own.
export PPV=$PWD/$BUILD/ppv
missed=0
for row in "node bench/play.mjs" "node bench/burst.mjs" "bash bench/ingest.sh" "bash bench/mark.sh"; do
    echo "== $row"
    $row || missed=1
done
exit $missed
