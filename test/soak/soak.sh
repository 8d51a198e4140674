#!/usr/bin/env bash
# test/soak/soak.sh — the stress programs by large numbers. SPDX-License-Identifier: MIT
#
# Goal: what happens once in a million calls, forks or threads happens here.
# Method: each long variant runs once; then the shadow model runs with one seed after the other until the
# time is over. A seed that fails is printed by the program. The last lines say what was done.
# usage: HAKTEST_LIB=libhakmem.so.1 HAKTEST_BIN=BUILD soak.sh MINUTES
set -u
cd "$(dirname "$0")/../.."
end=$((SECONDS + $1 * 60)) status=0 operations=0 seed=1000
preload=(env "LD_PRELOAD=$HAKTEST_LIB") stress=$HAKTEST_BIN/test/stress

soak() { # command...
    local outcome=0
    printf '\n== %s\n' "$*"
    "$@" || outcome=$?
    ((outcome == 0 || outcome == 77)) || status=1
}

soak "${preload[@]}" "$stress/fork_storm" 100000 32 1 30000
soak "${preload[@]}" HAKMEM_HELPER=on "$stress/fork_storm" 2000 8 2
soak "${preload[@]}" "$stress/fork_in_flight" 5000
soak "${preload[@]}" HAKMEM_HELPER=on "$stress/fork_in_flight" 1000 8 2
soak "${preload[@]}" "$stress/fork_exec" 20000
soak "${preload[@]}" "$stress/thread_storm" 1000000 32
soak "${preload[@]}" "$HAKTEST_BIN/test/promise/signal_storm" 2000000 8
soak "${preload[@]}" HAKMEM_CHECKS=1 "$HAKTEST_BIN/test/promise/signal_storm" 500000 8
soak "${preload[@]}" "$stress/exchange" 20000000
soak test/soak/kernel_limits.sh
while ((SECONDS < end)); do
    soak "${preload[@]}" "$stress/shadow" 5000000 $seed
    operations=$((operations + 5000000)) seed=$((seed + 1))
done
printf '\n%d operations beside the model, %d minutes in all; %s\n' "$operations" \
    $((SECONDS / 60)) "$( ((status)) && echo FAILED || echo "all passed")"
exit $status
