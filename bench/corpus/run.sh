#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every file of the corpus through the media child under strace: bench/corpus/run.sh [SEED]. Prints a table of outcomes; minutes to an hour.
# More real clips come from Debian packages, unpacked below build/ and installed nowhere. JOBS=children at a time, MUTANTS=520, REPORT=file: a row per file.
set -euo pipefail
cd "$(dirname "$0")/../.."
debs=${BUILD:-build}/corpus
mkdir -p "$debs"
if [ ! -e "$debs/.done" ]; then
    (cd "$debs" && apt-get download -qq opencv-doc python3-mecavideo afl++-doc && for d in *.deb; do dpkg -x "$d" root; done && rm -f ./*.deb && touch .done) ||
        echo "corpus: the clips of opencv-doc, python3-mecavideo and afl++-doc cannot be had; going on without them" >&2
fi
[ -d spec/media/node_modules ] || npm ci --prefix spec/media --silent --ignore-scripts --no-audit --no-fund
PPV=$PWD/${BUILD:-build}/ppv WHOLE=1 SEED=${1:-1} JOBS=${JOBS:-$(nproc)} CLIPS=/usr/share/forensics-samples/original-files:$PWD/$debs/root \
    exec nice -n 15 node spec/media/corpus.mjs
