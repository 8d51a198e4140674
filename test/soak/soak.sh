#!/usr/bin/env bash
# test/soak/soak.sh — the stress programs by large numbers. SPDX-License-Identifier: MIT
#
# Goal: what happens once in a million calls, forks or threads happens here.
# Method: each long variant runs once; then the shadow model runs on every processor for so many minutes, with
# one seed after the other and in all its ways in turn. A seed that fails is printed by the program. The last
# lines say what was done.
# usage: HAKTEST_LIB=libhakmem.so.1 HAKTEST_BIN=BUILD soak.sh MINUTES [PART...]
# The parts: forks (an hour and more on two processors), threads, signals, limits, memcheck, model; none: all.
set -u
cd "$(dirname "$0")/../.."
minutes=$1 parts=${*:2} status=0
preload=(env "LD_PRELOAD=$HAKTEST_LIB") stress=$HAKTEST_BIN/test/stress

part() { # name: is it wanted?
    [[ -z $parts || " $parts " == *" $1 "* ]]
}

soak() { # command...
    local outcome=0
    printf '\n== %s\n' "$*"
    "$@" || outcome=$?
    ((outcome == 0 || outcome == 77)) || status=1
}

if part forks; then
    soak "${preload[@]}" "$stress/fork_storm" 100000 32 1 30000
    soak "${preload[@]}" HAKMEM_HELPER=on "$stress/fork_storm" 2000 8 2
    soak "${preload[@]}" "$stress/fork_in_flight" 5000
    soak "${preload[@]}" HAKMEM_HELPER=on "$stress/fork_in_flight" 1000 8 2
    soak "${preload[@]}" "$stress/fork_exec" 20000
fi
if part threads; then
    soak "${preload[@]}" "$stress/thread_storm" 1000000 32
    soak "${preload[@]}" "$stress/exchange" 20000000
fi
if part signals; then
    soak "${preload[@]}" "$HAKTEST_BIN/test/promise/signal_storm" 2000000 8
    soak "${preload[@]}" HAKMEM_CHECKS=1 "$HAKTEST_BIN/test/promise/signal_storm" 500000 8
fi
if part limits; then soak test/soak/kernel_limits.sh; fi
if part memcheck; then soak test/soak/memcheck.sh "$HAKTEST_BIN" "$HAKTEST_BIN/../fuzz/fuzz"; fi

# Runs the model, in one of 16 ways: odd numbers with threads, 8 … 13 with options.
shadow() { # number, seed
    local with=() run=(-c 1000000 5000000 "$2") threads=(2 4 32 128)
    (($1 % 2)) && run=(-t "${threads[$1 / 2 % 4]}" -c 1000000 3000000 "$2")
    case $(($1 / 2 % 8)) in
    4) with=(env HAKMEM_CHECKS=1) ;;
    5) with=(test/observed.sh) ;;
    6) with=(env HAKMEM_HELPER=on) ;;
    esac
    "${with[@]}" "${preload[@]}" "$HAKTEST_BIN/test/shadow/shadow" "${run[@]}"
}

# Every `jobs`-th number from `first` on, each way once at least.
soak_shadow() { # first, jobs, log
    local number=$1 outcome=0
    while ((SECONDS < end || number < 16)); do
        shadow "$number" $((base + number)) >"$3.last" 2>&1 || outcome=1
        cat "$3.last" >>"$3"
        grep -E '^(ok|not ok) - seed' "$3.last" || tail -n 40 "$3.last"
        grep -q '^not ok' "$3.last" && sed -n '/^not ok/,$p' "$3.last"
        number=$((number + $2))
    done
    return $outcome
}

soak_model() {
    local logs jobs workers=() base i worker end=$((SECONDS + minutes * 60))
    printf '\n== the shadow model\n'
    logs=$(mktemp -d) jobs=$(nproc) base=$((SRANDOM % 1000000000))
    for ((i = 0; i < jobs; i++)); do
        soak_shadow "$i" "$jobs" "$logs/$i" &
        workers+=($!)
    done
    for worker in "${workers[@]}"; do
        wait "$worker" || status=1
    done
    printf '\n%s; %d minutes in all; %s\n' "$(cat "$logs"/*[0-9] | awk '
        /^ok - seed/ { seeds++; for (i = 1; i < NF; i++) {
            if ($(i + 1) == "operations,") operations += $i
            if ($(i + 1) == "threads,") threads += $i
            if ($(i + 1) == "checks:") checks += $i
        } }
        END { printf "%d seeds from BASE on, %d operations beside the model, %d threads, %d checks", seeds,
            operations, threads, checks }' | sed "s/BASE/$base/")" \
        $((SECONDS / 60)) "$( ((status)) && echo FAILED || echo "all passed")"
    rm -r "$logs"
}
if part model; then soak_model; fi
exit $status
