#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make bench`: the figures of the engine as ratios to peers of the same run; see bench/bench.mjs for the cases.
#   ROUNDS=3 SECS=3 CONNS=9500 UPLOAD_MB=512 ONLY=regex make bench
# The nginx of the comparison is ours alone: private prefix, private configuration, ended by its pid.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
cache=$PWD/$BUILD/bench
work=$(mktemp -d /tmp/ppv-bench-XXXXXX)
chmod 755 "$work"
nginx_pid=

clean() {
    if [ -n "$nginx_pid" ]; then kill "$nginx_pid" 2>/dev/null || true; wait "$nginx_pid" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

for tool in wrk nginx pgbench node curl; do
    if ! command -v "$tool" >/dev/null && ! [ -x "/usr/sbin/$tool" ]; then
        echo "bench: $tool is missing; apt-get install wrk nginx-light postgresql-contrib nodejs curl" >&2
        exit 1
    fi
done
PATH=$PATH:/usr/sbin

# libnginx-mod-http-lua must never be installed: its LuaJIT would replace the one we link. Unpacked it harms nobody.
lua=$cache/lua
fetch_lua() {
    mkdir -p "$cache/debs"
    (cd "$cache/debs" && apt-get download -qq libnginx-mod-http-lua libnginx-mod-http-ndk libluajit2-5.1-2 \
        libluajit2-5.1-common lua-resty-core lua-resty-lrucache) >"$cache/log" 2>&1 || return 1
    rm -rf "$lua.new" "$lua" && mkdir -p "$lua.new"
    for deb in "$cache"/debs/*.deb; do dpkg-deb -x "$deb" "$lua.new" || return 1; done
    mv "$lua.new" "$lua"
}
[ -e "$lua/usr/lib/nginx/modules/ngx_http_lua_module.so" ] || fetch_lua || true

port=$((20000 + RANDOM % 9000))
body='{"ok":true,"message":"hello"}'
modules='' http='' hello="return 200 '$body';"
export LD_LIBRARY_PATH=
PEER="nginx return 200"
if [ -e "$lua/usr/lib/nginx/modules/ngx_http_lua_module.so" ]; then
    LD_LIBRARY_PATH=$lua/usr/lib/x86_64-linux-gnu
    m=$lua/usr/lib/nginx/modules
    modules="load_module $m/ndk_http_module.so; load_module $m/ngx_http_lua_module.so;"
    http="lua_package_path '$lua/usr/share/lua/5.1/?.lua;;'; init_by_lua_block { cjson = require 'cjson' }"
    hello="content_by_lua_block { ngx.print(cjson.encode { ok = true, message = 'hello' }) }"
    PEER=nginx-lua
fi
mkdir -p "$work/static" "$work/tmp"
conf() {
    cat <<NGINX
$1
worker_processes 2;
daemon off;
pid $work/nginx.pid;
error_log $work/nginx.err;
events { worker_connections 16384; }
http {
    include /etc/nginx/mime.types;
    default_type application/json;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 600;
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
}
start_nginx() {
    LD_LIBRARY_PATH=$LD_LIBRARY_PATH nginx -p "$work" -c "$work/nginx.conf" &
    nginx_pid=$!
    for _ in $(seq 100); do
        [ "$(curl -s "http://127.0.0.1:$port/hello")" = "$body" ] && return 0
        kill -0 "$nginx_pid" 2>/dev/null || break
        sleep 0.05
    done
    # cjson does not promise an order of keys
    curl -s "http://127.0.0.1:$port/hello" | grep -q hello
}
conf "$modules" "$http" "$hello" >"$work/nginx.conf"
if ! start_nginx; then
    echo "bench: nginx-lua did not start; comparing to nginx return 200" >&2
    tail -3 "$work/nginx.err" >&2 || true
    kill "$nginx_pid" 2>/dev/null || true
    PEER="nginx return 200" LD_LIBRARY_PATH=
    conf "" "" "return 200 '$body';" >"$work/nginx.conf"
    start_nginx
fi

ulimit -n "$(ulimit -H -n)"
unset LD_LIBRARY_PATH
WORK=$work NGINX_PID=$nginx_pid NGINX_PORT=$port PEER=$PEER PPV=$PWD/$BUILD/ppv node bench/bench.mjs

if [ -e bench/ingest.sh ]; then
    [ -n "${ONLY:-}" ] || { echo; bash bench/ingest.sh; }
else
    echo "  ingest: bench/ingest.sh is not there, skipped"
fi
