#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building, running and testing needs (Debian 12). Does nothing when all of it is there.
#   deploy/install-deps.sh [s3]      s3: the Ceph gateway that spec/live/storage.mjs runs (280 MB), which installs it when it needs it
set -euo pipefail

# libnginx-mod-http-lua must never join this list: its LuaJIT fork removes luajit and libluajit-5.1-dev.
packages=(
    build-essential pkg-config
    libmicrohttpd-dev libluajit-5.1-dev luajit libpq-dev libcurl4-openssl-dev libssl-dev libargon2-dev
    libsecp256k1-dev libavformat-dev libavcodec-dev libavutil-dev libswscale-dev libswresample-dev libseccomp-dev libfreetype-dev libmimalloc-dev
    lua-cjson postgresql-15
    lua-busted lua-check clang-format-14 clang-14 libclang-rt-14-dev strace
    chromium nginx-light wrk ffmpeg curl jq forensics-samples-files fonts-dejavu-core
)
[ "${1:-}" != s3 ] || packages=(radosgw ceph-mon ceph-osd ceph-common)
# A Node.js from elsewhere is as good as Debian's, and the two do not mix.
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    packages+=(nodejs npm)
fi

missing=()
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2>/dev/null | sed -n 's/^ii  *//p')
for p in "${packages[@]}"; do
    grep -qx "$p" <<<"$installed" || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "This script knows Debian 12 only. Please install by hand: ${missing[*]}" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Packages are missing and there is no sudo. As root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quiet() { # the output only when it goes wrong
    "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

echo "Installing ${#missing[@]} packages (minutes on a fresh machine): ${missing[*]}"
echo "  reading package lists ..."
quiet "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update
# Debian's postgresql package would start a cluster of its own on port 5432; ours is private, in var/.
if [ ! -e /etc/postgresql-common/createcluster.conf ] && [[ " ${missing[*]} " == *" postgresql-15 "* ]]; then
    "${as_root[@]}" mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
echo "  downloading and unpacking ..."
quiet "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -o DPkg::Lock::Timeout=300 --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"
echo "  done"
