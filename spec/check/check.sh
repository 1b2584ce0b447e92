#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Floors, symbol prefixes, lengths, formatting, lint. BUILD = build directory with fresh objects (set by make).
set -uo pipefail
shopt -s lastpipe # so that report, at the end of a pipe, can set failed
cd "$(dirname "$0")/../.."
B=${BUILD:-build}
failed=0
# Prints findings (one per line) under a title; nothing found is nothing printed.
report() {
    local title=$1 lines
    lines=$(cat)
    [ -n "$lines" ] || return 0
    printf '%s\n' "$title"
    printf '%s\n' "$lines" | sed 's/^/  /'
    failed=1
}

# A file includes its own folder or a lower floor; folders of one floor ignore each other.
grep -noE '^ *# *include "[^"]+"' engine/*/*.[ch] | awk -F'[:"]' '
    BEGIN { n = split("base 0 run 1 crypto 2 db 2 net 2 http 2 media 2 blob 2 lua 2 domain 3 bind 4 app 5", t, " ")
            for (i = 1; i < n; i += 2) floor[t[i]] = t[i + 1] }
    { split($1, from, "/"); k = split($4, to, "/"); f = from[2]; d = to[1]
      if (k != 2) print $1 ":" $2 ": write \"folder/name.h\", not \"" $4 "\""
      else if (!(f in floor)) print $1 ": folder " f " has no floor"
      else if (!(d in floor)) print $1 ":" $2 ": folder " d " has no floor"
      else if (d != f && floor[d] >= floor[f]) print $1 ":" $2 ": " f " may not include " $4 }' |
    report "floors: include only the own folder or a lower floor"

# Exported symbols of x.c start with x_, with the folder's name (http/body.c: http_body_...), with the name of a struct that
# x.h or the folder's header defines (str.h: buf_...), or with that of another header of the folder.
for o in "$B"/obj/engine/*/*.o; do
    src=${o#"$B"/obj/}
    src=${src%.o}
    [ -e "$src.c" ] || continue
    folder=${src%/*} stem=${src##*/}
    ok="^(main|$stem|(${folder##*/}|$stem"
    for h in "$folder"/*.h; do ok+="|$(basename "$h" .h)"; done
    if [ -e "$src.h" ]; then
        for s in $(sed -nE 's/^struct ([a-z0-9_]+) \{.*/\1/p' "$src.h"); do ok+="|$s"; done
    fi
    ok+=")_.*)$"
    nm -g --defined-only "$o" | awk -v ok="$ok" -v src="$src.c" \
        '$2 ~ /^[TDBRVWC]$/ && $3 !~ ok && $3 !~ /^__(asan|odr_asan|tsan|ubsan)/ { print src ": " $3 }'
done | report "symbols: exported names start with the file's name; make the others static"

awk 'FNR == 1 { start = 0 }
     /^{/ { start = FNR }
     /^}/ { if (start && FNR - start - 1 > 80) print FILENAME ":" start ": " FNR - start - 1 " lines"; start = 0 }' \
    engine/*/*.c spec/c/*.c | report "length: functions have at most 80 lines"
wc -l engine/*/*.[ch] spec/c/*.[ch] | awk '$2 != "total" && $1 > 700 { print $2 ": " $1 " lines" }' |
    report "length: files have at most 700 lines"
awk 'length($0) > 130 { print FILENAME ":" FNR ": " length($0) " columns" }' engine/*/*.[ch] spec/c/*.[ch] |
    report "length: 100 columns is the aim, 130 the limit (clang-format leaves comments alone)"
for f in engine/*/*.[ch]; do
    head -1 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f"
done | report "licence: the first line is the SPDX line"

if command -v clang-format-14 >/dev/null; then
    clang-format-14 --dry-run -Werror engine/*/*.[ch] spec/c/*.[ch] 2>&1 |
        sed -n 's/: error: code should be clang-formatted.*//p' | cut -d: -f1 | sort | uniq -c |
        awk '{ print $2 ": " $1 " places" }' | report "format: run \`make format\`"
fi
if command -v luacheck >/dev/null; then
    dirs=()
    for d in scripts plugins spec; do [ -d "$d" ] && dirs+=("$d"); done
    luacheck -q --no-color --no-cache "${dirs[@]}" 2>&1 | grep -E '^ .*: ' | sed 's/^ *//' | report "luacheck"
fi
exit $failed
