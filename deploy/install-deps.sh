#!/usr/bin/env bash
# Installs the Debian 12 packages that building, running and testing need; does nothing when all are there.
set -euo pipefail
pkgs=(build-essential pkg-config libmicrohttpd-dev libluajit-5.1-dev luajit libpq-dev libcurl4-openssl-dev libssl-dev
  libargon2-dev libsecp256k1-dev libavformat-dev libavcodec-dev libavutil-dev libswscale-dev libswresample-dev
  libseccomp-dev lua-cjson lua-busted lua-check postgresql-15 clang-format-14 clang-14 libclang-rt-14-dev chromium
  nginx-light wrk ffmpeg curl jq forensics-samples-files fonts-dejavu-core)
command -v node >/dev/null || pkgs+=(nodejs)
command -v npm >/dev/null || pkgs+=(npm)
missing=()
for p in "${pkgs[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "These packages are missing; install them as root: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
echo "Installing ${#missing[@]} Debian packages (a few minutes the first time): ${missing[*]}"
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
  "${missing[@]}" >/tmp/ppv-apt.log 2>&1 || { tail -20 /tmp/ppv-apt.log >&2; exit 1; }
