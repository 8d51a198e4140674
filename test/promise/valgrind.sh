#!/bin/sh
# test/promise/valgrind.sh — preloaded programs under valgrind. SPDX-License-Identifier: MIT
#
# Goal: `valgrind --tool=memcheck` with hakmem preloaded ends as the program does: with memcheck's own
# malloc before ours (as it is by default), and with ours in force (--soname-synonyms=somalloc=NONE),
# where valgrind refuses some of the address space and knows no process_madvise.
# Exit status 77: valgrind is not installed.
set -u
command -v valgrind >/dev/null || { echo "# SKIP valgrind is not installed"; exit 77; }
passed=0 failed=0

try() { # what, options of valgrind...
    what=$1
    shift
    if output=$(LD_PRELOAD="$HAKTEST_LIB" valgrind --tool=memcheck -q --error-exitcode=9 "$@" \
        /bin/sh -c 'for i in 1 2 3 4 5 6 7 8; do eval "v$i=\$(printf %0$((i * 400))d 0)"; done; exit 0' 2>&1)
    then
        passed=$((passed + 1))
        echo "ok - $what"
    else
        failed=$((failed + 1))
        echo "not ok - $what: $output"
    fi
}

try "memcheck"
try "memcheck, hakmem's malloc in force" --soname-synonyms=somalloc=NONE
try "memcheck in forked children" --trace-children=yes
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
