#!/usr/bin/env bash
# Runs the tests: spec/run.sh [c|lua|media|live|browser|chain]... [file]...; without arguments all of them. The last line is `N passed, N failed`.
# One more at a time than there are processors, for some of them wait (LANES=1 one after the other); each line tells seconds of wall
# and of CPU. What takes long is here in a short form that shows the same; before a release also the long ones:
#   LONG=1 STRIDE=1 RELOADS=300 ROUNDS=200 KILLS=10 DELIVERIES=10000 spec/run.sh media live
#   node spec/live/crashpoints.mjs 20; SIZE=1GB node spec/live/tus.mjs; WHOLE=1 node spec/media/corpus.mjs; make contracts FULL=1
set -uo pipefail
cd "$(dirname "$0")/.."
self=$PWD/spec/run.sh
export BUILD=${BUILD:-build}
export PPV="$PWD/$BUILD/ppv"

# Counts the last "N passed, N failed" of a log; a run without one has failed.
count() {
  grep -Eo '[0-9]+ passed, [0-9]+ failed' "$1" | tail -1 | grep . || { echo "not ok - $2 ended without a result" >>"$1"; echo "0 passed, 1 failed"; }
}

run_c() {
  local t passed=0 failed=0
  for t in "$@"; do
    if "$t" >"$log.c" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "not ok - $(basename "$t")"; tail -20 "$log.c"; fi
  done
  echo "$passed passed, $failed failed"
}

run_lua() {
  "$PPV" spec "$@" >"$log.lua" 2>&1
  local line
  line=$(grep -Eo '[0-9]+ success(es)? / [0-9]+ failures? / [0-9]+ errors?' "$log.lua" | tail -1)
  if [ -z "$line" ]; then echo "not ok - $* ended without a result"; tail -40 "$log.lua"; echo "0 passed, 1 failed"; return; fi
  read -r ok _ _ bad _ _ err _ <<<"$line"
  [ $((bad + err)) -eq 0 ] || { echo "not ok - $*"; grep -v '^[-+*{]' "$log.lua" | tail -150; }
  echo "$ok passed, $((bad + err)) failed"
}

# Tests of other parts that need the packages of spec/browser too.
opens_pages='^(chain|live .*/storage\.mjs)'

# One task: kind and files. What it has to say is printed at once when it has ended.
run_task() {
  local kind=$1 result spent
  shift
  log=$(mktemp "$RESULTS/log.XXXXXX")
  for needed in "$kind" $([[ ! "$kind $1" =~ $opens_pages ]] || echo browser); do flock -s "$RESULTS/packages.$needed" true; done
  TIMEFORMAT='%0R s, CPU %0U + %0S s'
  spent=$( { time case $kind in
    c) run_c "$@" ;;
    lua) run_lua "$@" ;;
    *) timeout 1800 node "$1" ;;
  esac >"$log" 2>&1; } 2>&1)
  result=$(count "$log" "$*")
  {
    flock 9
    local name="$kind $*"
    [ ${#name} -le 70 ] || name="$kind $1 ... ($#)"
    echo "== $name: $result ($spent)"
    grep -E '^not ok' "$log"
    [[ $result == *" 0 failed" ]] || tail -150 "$log" | grep -vE '^(not )?ok '
    echo "$result" >>"$RESULTS/results"
  } 9>"$RESULTS/lock"
}

if [ "${1:-}" = --task ]; then shift; run_task "$@"; exit 0; fi

export RESULTS=$(mktemp -d)
unset OUT # of a browser test it is the place of the screenshots, which nobody would look at
trap 'rm -rf "$RESULTS"' EXIT
chmod 711 "$RESULTS" # the database is another user
LANES=${LANES:-$(($(nproc 2>/dev/null || echo 1) + 1))}
[ "$LANES" -le 5 ] || LANES=5

# Packages before the first test that needs them, and again when the lock file has changed.
packages() {
  [ -e "$1/package.json" ] && ! [ "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ] || return 0
  echo "Fetching the packages named in $1/package-lock.json (some seconds) ..."
  npm ci --prefix "$1" --silent --ignore-scripts --no-audit --no-fund
}

# The tasks of a part, one a line.
tasks() {
  case $1 in
    c) echo c $(find "$BUILD"/ctest -name 'test_*' -perm -u+x ! -name '*.d' | sort) ;;
    # A process has its own database, made in two seconds: enough files for one to be worth it.
    lua) echo lua spec/unit spec/bind spec/plugins $(ls -d plugins/*/spec 2>/dev/null)
      echo lua spec/model # leaves thousands of orders and payouts in the administrator's queues
      ls spec/http/*_spec.lua | xargs -n 7 echo lua ;;
    *) ls spec/"$1"/*.mjs | grep -v '/lib\.mjs$' | sed "s/^/$1 /" ;;
  esac
}

if [ "${1:-}" = lua ] && [ $# -gt 1 ]; then
  echo "$@" >"$RESULTS/tasks"
elif [ $# -gt 1 ] && [ -f "$2" ]; then
  printf "$1 %s\n" "${@:2}" >"$RESULTS/tasks"
else
  [ $# -gt 0 ] || set -- media live browser chain lua c
  for part in "$@"; do tasks "$part"; done >"$RESULTS/tasks"
fi
# Packages come while the first tests run; a test that needs some waits until nobody holds their lock.
for kind in $(awk '$1 != "c" && $1 != "lua" { print $1 } $0 ~ pages { print "browser" }' pages="${opens_pages/\\/\\\\}" "$RESULTS/tasks" | sort -u); do
  exec 8>"$RESULTS/packages.$kind"
  flock 8
  packages "spec/$kind" &
  exec 8>&-
done
# A database before the first start of a site, made once; each server of a test takes a copy (spec/live/lib.mjs). drop.mjs does not.
if [ "$(grep -cE '^(live|browser|chain) ' "$RESULTS/tasks")" -gt 1 ]; then
  "$PPV" --root "$PWD" --set var_dir="$RESULTS/new" migrate >"$RESULTS/new.log" 2>&1 && cp -r sql "$RESULTS/new" && export TEMPLATE=$RESULTS/new || cat "$RESULTS/new.log"
fi
# The longest first, so that no lane waits for one at the end; sources.mjs looks at what ingest.mjs has made by then; what
# measures time has the machine for itself.
export MADE=$RESULTS/made
mkdir "$MADE"
long='/(ingest|media|crashpoints|sidedoor|trace|journey_site|gateways|storage|x402|crash|smtp|cli|stop_site|early_site)\.mjs|spec/model$' late='/sources\.mjs' alone='/reload\.mjs'
{ grep -E "$long" "$RESULTS/tasks"; grep -vE "$long|$late|$alone" "$RESULTS/tasks"; grep -E "$late" "$RESULTS/tasks"; } | xargs -r -P "$LANES" -L1 "$self" --task
grep -E "$alone" "$RESULTS/tasks" | xargs -r -L1 "$self" --task
awk '{ p += $1; f += $3 } END { print p + 0 " passed, " f + 0 " failed"; exit f > 0 || p == 0 }' "$RESULTS/results"
