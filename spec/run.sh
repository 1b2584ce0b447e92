#!/usr/bin/env bash
# Runs the tests: spec/run.sh [c|lua|media|live|browser]... [file]; without arguments all of them. The last line is `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0

add() { passed=$((passed + $1)) failed=$((failed + $2)); }

# Adds the counts of the last "N passed, N failed" line of a file; a run without one has failed.
count_file() {
  local line
  line=$(grep -Eo '[0-9]+ passed, [0-9]+ failed' "$1" | tail -1)
  if [ -n "$line" ]; then add "${line%% *}" "$(echo "$line" | cut -d' ' -f3)"; else add 0 1; echo "not ok - $2 ended without a result"; fi
}

run_c() {
  echo "== C tests"
  for t in "$BUILD"/ctest/test_*; do
    [ -x "$t" ] && [[ $t != *.d ]] || continue
    if "$t" >"$out/c" 2>&1; then add 1 0; else add 0 1; echo "not ok - $(basename "$t")"; tail -20 "$out/c"; fi
  done
}

run_lua() {
  echo "== specifications in the engine"
  local files=("$@")
  [ ${#files[@]} -gt 0 ] || mapfile -t files < <(ls -d spec/unit spec/bind spec/http spec/plugins plugins/*/spec 2>/dev/null)
  "$BUILD"/ppv spec "${files[@]}" >"$out/lua" 2>&1
  local line
  line=$(grep -Eo '[0-9]+ success(es)? / [0-9]+ failures? / [0-9]+ errors?' "$out/lua" | tail -1)
  if [ -z "$line" ]; then add 0 1; tail -40 "$out/lua"; return; fi
  set -- $line
  add "$1" $(($4 + $7))
  [ $(($4 + $7)) -eq 0 ] || grep -v '^[-+*{]' "$out/lua" | tail -150
}

run_scripts() {
  local kind=$1 f
  if [ -e "spec/$kind/package.json" ] && [ ! -d "spec/$kind/node_modules" ]; then
    echo "Fetching the packages named in spec/$kind/package-lock.json (once, some seconds) ..."
    npm ci --prefix "spec/$kind" --silent --ignore-scripts --no-audit --no-fund
  fi
  for f in spec/"$kind"/*.mjs; do
    [ -f "$f" ] && [ "$(basename "$f")" != lib.mjs ] || continue
    echo "== $f"
    timeout 420 node "$f" >"$out/s" 2>&1
    grep -E '^not ok' "$out/s" || true
    count_file "$out/s" "$f"
    grep -qE '[0-9]+ passed, 0 failed' "$out/s" || tail -30 "$out/s"
  done
}

want=("$@")
case "${1:-all}" in
  all) want=(c lua media live browser) ;;
  lua) shift; run_lua "$@"; want=() ;;
esac
for part in "${want[@]}"; do
  case $part in
    c) run_c ;;
    lua) run_lua ;;
    media) PPV="$PWD/$BUILD/ppv" run_scripts media ;;
    live) PPV="$PWD/$BUILD/ppv" run_scripts live ;;
    browser) PPV="$PWD/$BUILD/ppv" run_scripts browser ;;
  esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
