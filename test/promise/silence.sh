#!/usr/bin/env bash
# test/promise/silence.sh — nothing is printed unasked. SPDX-License-Identifier: MIT
#
# Goal: a normal program's output is byte for byte its own, and a release build contains none of the
# text that debug builds print.
# Method: programs with known output, run preloaded, stdout and stderr compared; strings(1) on the
# loaded, initialized sections (so that debug information does not count) against a list.
# A debug build (HAKTEST_BUILD=debug) has such text: the part about text is skipped, visibly.
set -eu -o pipefail

lib=${HAKTEST_LIB:?HAKTEST_LIB names the library}
build=${HAKTEST_BUILD-}
passed=0
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() { # check WHAT STATUS
    if [ "$2" = 0 ]; then
        echo "ok - $1"
        passed=$((passed + 1))
    else
        echo "not ok - $1"
        failed=$((failed + 1))
    fi
}

# same WHAT COMMAND...: the same stdout, stderr and status with and without the library. The command
# is looked up, because a builtin of this shell would run without the library.
same() {
    local what=$1 plain=0 preloaded=0 result=0
    set -- "$(type -P "$2")" "${@:3}"
    "$@" >"$work/out.plain" 2>"$work/err.plain" </dev/null || plain=$?
    LD_PRELOAD=$lib "$@" >"$work/out" 2>"$work/err" </dev/null || preloaded=$?
    test "$plain" = "$preloaded" || result=1
    cmp -s "$work/out.plain" "$work/out" || result=1
    cmp -s "$work/err.plain" "$work/err" || result=1
    check "$what (status $preloaded, $(wc -c <"$work/err") bytes on stderr)" "$result"
}

unset "${!HAKMEM_@}"
seq 100000 | sort -R --random-source=/bin/bash >"$work/numbers"

same "true" true
same "echo" echo hello
same "false keeps its status" false
same "a program that complains on stderr" ls /nonexistent/path
same "sort with two threads" sort -n --parallel=2 -S 1M "$work/numbers"
same "awk" awk '{ sum += $1; seen[$1 % 977] = $0 } END { print sum, length(seen) }' "$work/numbers"
same "a shell with children" bash -c 'for i in 1 2 3; do echo $(echo $i | tr 123 abc); done'
same "a program that closes stdout and stderr" bash -c 'exec 1>&- 2>&-; echo lost; exit 5'
same "a failing allocation" bash -c 'ulimit -v 60000; exec true'

if [ "$build" = debug ]; then
    echo "# SKIP text in the library: it is a debug build"
    echo "$passed passed, $failed failed"
    exit $((failed != 0))
fi

# What debug builds print: stage traces, each begun by one mark, and assertions.
debug_text='hakmem-trace|HAKMEM_LOG|hak_assert|assertion|assert failed|DEBUG|TODO|FIXME'
debug_text+='|\btrace:|\bdebug:|entering|leaving'
found=$(strings -d -n 4 "$lib" | grep -E "$debug_text" | head -n 5 | tr '\n' '|' || true)
check "no debug text in the library (${found:-none})" "$(test -z "$found" && echo 0 || echo 1)"

# The check above must be able to see text at all: the fatal messages are in every build.
fatal=$(strings -d -n 4 "$lib" | grep -c 'double free' || true)
check "fatal messages are in it ($fatal)" "$(test "$fatal" -gt 0 && echo 0 || echo 1)"

# Asking a release build for traces gives none (a warning about the option is allowed).
HAKMEM_LOG=pool,arena,slab,heap LD_PRELOAD=$lib sort -n "$work/numbers" >/dev/null 2>"$work/err"
unexpected=$(grep -cv '^hakmem: warning: ' "$work/err" || true)
check "HAKMEM_LOG gives no trace in a release build" \
    "$(test "$unexpected" -eq 0 && echo 0 || echo 1)"

echo "$passed passed, $failed failed"
test "$failed" -eq 0
