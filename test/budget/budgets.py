#!/usr/bin/env python3
# test/budget/budgets.py — counts that must not grow. SPDX-License-Identifier: MIT
"""Asserts what the library may cost in counts; never in times.

usage: HAKTEST_LIB=libhakmem.so.1 HAKTEST_BIN=DIR budgets.py [--rounds N] [--skip-boundaries]

DIR holds bench_syscall_trace and bench_boundaries. "Own" system calls are those whose instruction
pointer lies in the library's text (count_own_calls.py). A hello world is compiled on the fly and
compared with the same program preloading an empty library: the least of several runs.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from count_own_calls import trace

HERE = Path(__file__).resolve().parent
TRACE_CALLS_MAX = 8
HELLO_CALLS_MAX = 5         # those of start-up (ARCHITECTURE.md)
HELLO_RSS_KIB_MAX = 512     # over preloading an empty library
HELLO_FAULTS_MAX = 27       # likewise
HELLO_RUNS = 41             # where the kernel puts things differs, and costs up to a dozen pages more
BOUNDARY_BRACKETS_MIN = 60  # 32 sizes, alone and 256 at a time
STEADY_ROUNDS = 100000
# What a program makes by the passing of time, whatever its sizes: twice a second memory that was free for
# an epoch goes back, and once the limits of its control group are read. Of a whole run, some seconds:
TIMED_PURGES = ("madvise", "process_madvise")
TIMED_PURGES_MAX = 64
TIMED_LOOK_UPS = ("openat", "read", "close")
TIMED_LOOK_UPS_MAX = 24
# Giving memory back: most of it, by few calls, each with no lock held (one allocator made 70,000 of them).
GIVES_BACK = ((256, 1, {}), (128, 4, {"HAKMEM_ACE": "off"}))   # MiB, rounds, options
GIVES_BACK_CALLS_A_GIB_MAX = 128
GIVES_BACK_LEFT_MAX = 1 / 4   # resident at the end, of when all was in use
TRACE_TIMEOUT_S = 900
SKIPPED = 77                # for ctest

outcomes = []


def check(holds, text):
    outcomes.append(holds)
    print(("ok - " if holds else "not ok - ") + text, flush=True)


def environment(**options):
    """The caller's environment without options of the library, but for those given."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("HAKMEM_")}
    return plain | options


def told(calls):
    return f"{sum(calls.values())} {dict(calls) if calls else ''}".strip()


def compile_program(directory, name, *flags):
    target = directory / name
    source = HERE / f"{name}.c"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", target, source],
                   check=True)
    return target


def check_trace_program(library, programs):
    command = [programs / "bench_syscall_trace", "50000", "256", "42"]
    traced = trace(library, command, environment=environment(), timeout=TRACE_TIMEOUT_S)
    check(traced.status == 0 and traced.library_seen, "bench_syscall_trace 50000 256 42 runs")
    check(sum(traced.own.values()) <= TRACE_CALLS_MAX,
          f"it makes at most {TRACE_CALLS_MAX} own calls: {told(traced.own)}")
    check(traced.own["munmap"] == 0, f"none of them trims a mapping: {traced.own['munmap']} munmap")


def measure_hello(launch, preload, hello):
    """The least peak RSS (KiB) and the least minor faults."""
    peaks, faults = [], []
    for _ in range(HELLO_RUNS):
        words = subprocess.run([launch, preload, hello], env=environment(), text=True,
                               capture_output=True, check=True).stdout.split()
        if words[2] != "0":
            raise RuntimeError(f"hello ended with status {words[2]}")
        peaks.append(int(words[0]))
        faults.append(int(words[1]))
    return min(peaks), min(faults)


def compile_launcher(directory):
    """Static where libc has a static form: the launcher must be smaller than what it measures."""
    try:
        return compile_program(directory, "launch", "-static")
    except subprocess.CalledProcessError:
        return compile_program(directory, "launch")


def check_hello(library, directory, faults_max):
    hello = compile_program(directory, "hello")
    empty = compile_program(directory, "empty_library", "-shared", "-fPIC")
    launch = compile_launcher(directory)
    traced = trace(library, [hello], environment=environment())
    check(traced.stdout == b"hello\n" and traced.library_seen, "hello world runs")
    check(sum(traced.own.values()) <= HELLO_CALLS_MAX,
          f"it makes at most {HELLO_CALLS_MAX} own calls: {told(traced.own)}")
    base_peak, base_faults = measure_hello(launch, empty, hello)
    peak, faults = measure_hello(launch, library, hello)
    check(peak - base_peak <= HELLO_RSS_KIB_MAX,
          f"peak RSS over an empty library is at most {HELLO_RSS_KIB_MAX} KiB: "
          f"{peak - base_peak:g} ({peak:g} - {base_peak:g})")
    check(faults - base_faults <= faults_max,
          f"minor faults over an empty library are at most {faults_max}: "
          f"{faults - base_faults:g} ({faults:g} - {base_faults:g})")


def check_gives_back(library, directory):
    program = compile_program(directory, "gives_back", "-fno-builtin")
    for mib, rounds, options in GIVES_BACK:
        traced = trace(library, [program, str(mib), str(rounds)],
                       environment=environment(**options), timeout=TRACE_TIMEOUT_S)
        freed, full, left = (int(word) for word in traced.stdout.split())
        calls = sum(traced.own[call] for call in ("madvise", "process_madvise", "munmap"))
        mode = " ".join(f"{k}={v}" for k, v in options.items()) or "default"
        check(traced.status == 0 and calls * 1024 <= GIVES_BACK_CALLS_A_GIB_MAX * freed,
              f"{mode}: at most {GIVES_BACK_CALLS_A_GIB_MAX} calls a GiB freed: {calls} calls for "
              f"{freed} MiB")
        check(left <= full * GIVES_BACK_LEFT_MAX,
              f"{mode}: most of what is free goes back: {left} KiB resident of {full}")


def check_boundaries(library, programs, rounds, **options):
    mode = " ".join(f"{k}={v}" for k, v in options.items()) or "default"
    traced = trace(library, [programs / "bench_boundaries", str(rounds)],
                   environment=environment(**options), timeout=TRACE_TIMEOUT_S)
    check(traced.status == 0 and traced.library_seen and
          len(traced.brackets) >= BOUNDARY_BRACKETS_MIN,
          f"bench_boundaries {rounds}, {mode}: {len(traced.brackets)} steady states")
    purges = look_ups = 0
    for label, calls in traced.brackets.items():
        size, batch = label.split()
        purges += sum(calls[call] for call in TIMED_PURGES)
        look_ups += sum(calls[call] for call in TIMED_LOOK_UPS)
        steady = {call: count for call, count in calls.items()
                  if call not in TIMED_PURGES + TIMED_LOOK_UPS}
        check(not steady, f"{mode}: size {size}, {batch} at a time: {told(steady)} own calls")
    check(purges <= TIMED_PURGES_MAX and look_ups <= TIMED_LOOK_UPS_MAX,
          f"{mode}: epochs made {purges} own calls, looking for limits {look_ups}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=STEADY_ROUNDS,
                        help="allocations in each steady state")
    parser.add_argument("--skip-boundaries", action="store_true")
    parser.add_argument("--faults-max", type=int, default=HELLO_FAULTS_MAX,
                        help="minor faults of hello world over an empty library")
    options = parser.parse_args()
    for name in ("HAKTEST_LIB", "HAKTEST_BIN"):
        if name not in os.environ:
            parser.error(f"{name} is not set")
    if shutil.which("strace") is None:
        print("# SKIP budgets: strace is not installed")
        return SKIPPED
    library = os.path.realpath(os.environ["HAKTEST_LIB"])
    programs = Path(os.environ["HAKTEST_BIN"]).resolve()
    check_trace_program(library, programs)
    with tempfile.TemporaryDirectory(prefix="hakmem-budget-") as directory:
        check_hello(library, Path(directory), options.faults_max)
        check_gives_back(library, Path(directory))
    if not options.skip_boundaries:
        check_boundaries(library, programs, options.rounds)
        check_boundaries(library, programs, options.rounds, HAKMEM_ACE="off")
    print(f"{sum(outcomes)} passed, {len(outcomes) - sum(outcomes)} failed")
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
