#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The invisible mark in figures, see bench/mark.mjs.   bench/mark.sh [CLIP] [STRENGTH...]
set -euo pipefail
clip=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."
build=${BUILD:-build}
make -s "$build/ctest/.all" >/dev/null # for engine.a
export MARK=$build/bench-mark PPV=${PPV:-$build/ppv}
gcc -std=gnu17 -O2 -Iengine -o "$MARK" bench/mark.c "$build/engine.a" $(pkg-config --libs openssl) -lm
node bench/mark.mjs "${clip:-/usr/share/forensics-samples/original-files/movie2/movie-hello.mp4}" "${@:2}"
