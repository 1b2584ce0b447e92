#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Ingest against one ffmpeg process that makes the same ladder: interleaved rounds, medians, ratios; then the likeness to the
# source and the size of each rung (bench/likeness.mjs).
#   bench/ingest.sh [CLIP] [ROUNDS]        PPV = program (build/ppv), TMPDIR = scratch
# Both decode once, encode x264 veryfast crf 23 with the same rate caps, GOP and AAC; ours also encrypts, syncs every file to
# disk and makes posters. A ratio below 1 means ours is faster. On a busy machine trust the CPU column.
# "plain" is without the invisible mark, "pair" with both variants of every segment and the reference.
set -euo pipefail

clip=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."

rounds=${2:-5}
ppv=$(realpath "${PPV:-build/ppv}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
if [ -z "$clip" ]; then
    clip=/usr/share/forensics-samples/original-files/movie2/movie-hello.mp4
    if [ ! -e "$clip" ]; then
        spec/support/samples.sh "$tmp/samples"
        clip=$tmp/samples/landscape.mp4
    fi
fi

probe() { ffprobe -v error -select_streams "$1" -show_entries "stream=$2" -of csv=p=0 "$clip" | head -1 | tr -d ,; }
height=$(probe v:0 height)
audio=$(probe a:0 codec_name)

secret=$(printf %02x $(seq 0 31)) # that of spec/media/lib.mjs, which opens the segments
plain() { ours 0; }
pair() { ours 0.95; }
ours() { # STRENGTH
    out=$tmp/out$1
    rm -rf "$out"
    mkdir "$out"
    printf 'id=bench\ntitle_secret=%s\nsegment_s=2\nstrength=%s\n\n' "$secret" "$1" |
        "$ppv" media ingest 3<"$clip" 4<"$out" >"$tmp/log" 2>"$tmp/err" || { tail -2 "$tmp/log" "$tmp/err" >&2; exit 1; }
    rate=$(sed -n 's/.*"fps_num":\([0-9]*\),"fps_den":\([0-9]*\).*/\1\/\2/p' "$tmp/log")
}

theirs() {
    local gop args=() graph='' n=0 side cap
    gop=$(awk "BEGIN { printf \"%.0f\", 2 * $rate }")
    for side in 1080:5000 720:2800 480:1400 360:800 240:400; do
        cap=${side#*:}
        side=${side%:*}
        [ "$side" -le "$height" ] || continue
        graph+="[v$n]scale=-2:$side[s$n];"
        args+=(-map "[s$n]" -c:v libx264 -preset veryfast -profile:v high -crf 23 -maxrate "${cap}k" -bufsize "$((2 * cap))k"
            -pix_fmt yuv420p -g "$gop" -x264-params scenecut=0:open-gop=0:stitchable=1
            -movflags frag_keyframe+empty_moov+default_base_moof -f mp4 "$tmp/cli_$side.mp4")
        n=$((n + 1))
    done
    graph="[0:v]fps=$rate,split=$n$(seq -f '[v%g]' -s '' 0 $((n - 1)));${graph%;}"
    [ -z "$audio" ] || args+=(-map 0:a:0 -c:a aac -b:a 128k -ac 2 -ar 48000 -movflags empty_moov+default_base_moof
        -frag_duration 2000000 -f mp4 "$tmp/cli_audio.mp4")
    ffmpeg -nostdin -v error -y -i "$clip" -filter_complex "$graph" "${args[@]}"
}

# measure FUNCTION -> wall and CPU seconds of it and its children
measure() {
    local a b t0 t1
    read -r _ _ a < <(cpu)
    t0=$EPOCHREALTIME
    "$1"
    t1=$EPOCHREALTIME
    read -r _ _ b < <(cpu)
    wall=$(awk "BEGIN { printf \"%.3f\", $t1 - $t0 }")
    used=$(awk "BEGIN { printf \"%.3f\", ($b - $a) / $(getconf CLK_TCK) }")
}
cpu() { awk '{ sub(/.*\) /, ""); print "x", "x", $14 + $15 }' "/proc/$$/stat"; } # children's user + system ticks

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

plain # once, not counted: warms the page cache and tells the frame rate
echo "clip $(basename "$clip"), $(probe v:0 width)x$height, $rate fps, load $(cut -d' ' -f1 /proc/loadavg), $(nproc) cores"
for ((i = 1; i <= rounds; i++)); do
    measure theirs
    echo "$wall $used" >>"$tmp/cli"
    printf 'round %d  ffmpeg %6.2f s wall %6.2f s cpu' "$i" "$wall" "$used"
    for kind in plain pair; do
        measure $kind
        echo "$wall $used" >>"$tmp/$kind"
        printf '   %s %6.2f s wall %6.2f s cpu' $kind "$wall" "$used"
    done
    echo
done
for col in 1 2; do
    for kind in cli plain pair; do cut -d' ' -f$col "$tmp/$kind" | median; done | paste -s -d' ' |
        awk -v what="$([ $col = 1 ] && echo wall || echo cpu)" '{
            printf "median %-4s  ffmpeg %.2f  plain %.2f (%.2f of ffmpeg)  pair %.2f (%.2f of plain)\n", what, $1, $2, $2 / $1, $3, $3 / $2 }'
done
PPV=$ppv node bench/likeness.mjs "$clip" "$tmp/out0" "$tmp"
