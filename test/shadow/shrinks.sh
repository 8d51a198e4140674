#!/bin/sh
# test/shadow/shrinks.sh — the model finds a fault, shrinks it, and what it prints repeats it.
# SPDX-License-Identifier: MIT
#
# usage: shrinks.sh SHADOW SPOILING_LIBRARY    with the library in LD_PRELOAD
export LD_PRELOAD="$2 $LD_PRELOAD"
fail() {
    echo "not ok - $1"
    printf '%s\n' "$output"
    echo "0 passed, 1 failed"
    exit 1
}
output=$("$1" 200000 3) && fail "the model does not see that realloc changes a byte"
case $output in
*"shrunk to 2 operations"*"contents changed"*) ;;
*) fail "one block made and resized is not what is left" ;;
esac
kept=$(printf '%s\n' "$output" | sed -n 's/.* -k \([0-9,]*\) .*/\1/p')
output=$("$1" -b 0 -k "$kept" 200000 3) && fail "what is printed does not repeat it"
case $output in
*", 2 operations, "*"contents changed"*) ;;
*) fail "what is printed repeats something else" ;;
esac
echo "1 passed, 0 failed"
