#!/usr/bin/env bash
# test/soak/memcheck.sh — the library's inside under valgrind's memcheck. SPDX-License-Identifier: MIT
#
# Goal: no decision of the library's is made on a byte that nobody wrote, and no access is one that memcheck
# calls wrong.
# Method: the fuzz targets replay their corpus: they are linked with the prefixed build, so that memcheck sees
# the library as part of the program. valgrind knows no process_madvise(2), and says so; the library then does
# without.
# usage: memcheck.sh BUILD [FOLDER]     FOLDER: of inputs that were found, FOLDER/<target>/corpus, as well;
#                                       exit status 77: valgrind is not installed
set -u
cd "$(dirname "$0")/../.."
command -v valgrind >/dev/null || { echo "# SKIP valgrind is not installed"; exit 77; }
build=$1 passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

try() { # program, arguments...
    local status=0
    valgrind --tool=memcheck -q --error-exitcode=9 --leak-check=no "$@" >"$log" 2>&1 || status=$?
    if ((status == 0)); then
        passed=$((passed + 1))
        echo "ok - ${1#"$build"/}"
    else
        failed=$((failed + 1))
        echo "not ok - ${1#"$build"/}: status $status"
        grep -v -e '^# ' -e '^--' "$log" | tail -n 60
    fi
}

targets=(spans options)
[[ $# -gt 1 ]] && targets+=(calls) # minutes
for target in "${targets[@]}"; do
    inputs=("test/fuzz/corpus/$target")
    [[ -d ${2-}/$target/corpus ]] && inputs+=("$2/$target/corpus")
    try "$build/test/fuzz/fuzz_$target" "${inputs[@]}"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
