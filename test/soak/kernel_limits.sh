#!/usr/bin/env bash
# test/soak/kernel_limits.sh — limits of the whole machine, for a moment. SPDX-License-Identifier: MIT
#
# Goal: with strict overcommit, with few mappings, with huge pages for everything, for what asks and for
# nothing, in a small control group, the stress programs end well.
# Method: the setting is changed, the program runs, the old value comes back, whatever happens. All other
# programs of the machine meet the same limits meanwhile: `dev soak` only, and only by root.
# usage: HAKTEST_LIB=libhakmem.so.1 HAKTEST_BIN=BUILD kernel_limits.sh     exit status 77: not root
set -u
((EUID == 0)) || { echo "# SKIP not root"; exit 77; }
passed=0 failed=0 group=

thp=/sys/kernel/mm/transparent_hugepage/enabled
settings=(/proc/sys/vm/overcommit_memory /proc/sys/vm/max_map_count)
[[ -w $thp ]] && settings+=("$thp")
value() { sed -E 's/.*\[(.*)\].*/\1/' "$1"; } # of a list of words the one in brackets
old=()
for setting in "${settings[@]}"; do old+=("$(value "$setting")"); done
restore() {
    for i in "${!settings[@]}"; do
        [[ $(value "${settings[i]}") == "${old[i]}" ]] || echo "${old[i]}" >"${settings[i]}"
    done
    [[ -z $group ]] || rmdir "$group" 2>/dev/null
}
trap restore EXIT
trap 'exit 1' INT TERM HUP

run() { # what, command...
    if output=$(LD_PRELOAD="$HAKTEST_LIB" timeout 300 "${@:2}" 2>&1); then
        passed=$((passed + 1))
        echo "ok - $1: ${2##*/}"
    else
        failed=$((failed + 1))
        printf 'not ok - %s: %s\n%s\n' "$1" "${2##*/}" "$(tail -n 5 <<<"$output")"
    fi
}

programs() { # what
    run "$1" "$HAKTEST_BIN/test/shadow/shadow" 100000
    run "$1" "$HAKTEST_BIN/test/stress/exchange" 200000
    run "$1" "$HAKTEST_BIN/test/stress/thread_storm" 500 16 1 256
}

with() { # setting value
    if ! echo "$2" 2>/dev/null >"$1"; then
        echo "# SKIP ${1##*/} cannot be set here"
        return
    fi
    programs "${1#/*/*/} $2"
    restore
}

# A group of our own below the one we are in, version 2 or 1; 256 MiB are little for these programs.
in_group() {
    local base path
    base=/sys/fs/cgroup path=$(sed -n 's/^0:://p' /proc/self/cgroup)
    [[ -e $base/cgroup.controllers ]] || base=
    if [[ -z $base && -d /sys/fs/cgroup/memory ]]; then
        base=/sys/fs/cgroup/memory path=$(sed -nE 's/^[0-9]+:memory://p' /proc/self/cgroup)
    fi
    group=$base$path/hakmem-$$
    if [[ -z $base ]] || ! mkdir "$group" 2>/dev/null; then
        echo "# SKIP no control group can be made here"
        group=
        return
    fi
    local file=$group/memory.max
    [[ -e $file ]] || file=$group/memory.limit_in_bytes
    if ! echo $((256 << 20)) 2>/dev/null >"$file"; then
        echo "# SKIP the group takes no memory limit"
        return
    fi
    programs_in_group
}

programs_in_group() {
    export HAKTEST_GROUP=$group
    local enter='echo $$ >"$HAKTEST_GROUP/cgroup.procs" && exec "$@"'
    run "group of 256 MiB" bash -c "$enter" - "$HAKTEST_BIN/test/shadow/shadow" 100000
    run "group of 256 MiB" bash -c "$enter" - "$HAKTEST_BIN/test/stress/thread_storm" 500 16 1 256
}

with /proc/sys/vm/max_map_count 1024
with /proc/sys/vm/overcommit_memory 2
for word in always madvise never; do with "$thp" "$word"; done
in_group
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
