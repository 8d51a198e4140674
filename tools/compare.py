#!/usr/bin/env python3
# tools/compare.py — one command under several allocators, interleaved. SPDX-License-Identifier: MIT
"""Compare allocators on a command of yours.

    tools/compare.py BUILD_DIR [--rounds N] [--grep REGEX] NAME=PATH.so... -- COMMAND [ARGUMENT]...

NAME=sys is the C library's own malloc. The first allocator is the one the others are divided by.
Each round runs every allocator once, starting with another one than the round before, so a machine
whose speed drifts treats all alike. Prints minimum and median of CPU time, their ratio to the first,
peak RSS and minor faults. With --grep, the first number in each output line that matches is compared
too (for programs that time themselves). Needs measure_child from BUILD_DIR.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile


def parse_arguments():
    argv = sys.argv[1:]
    if "--" not in argv:
        sys.exit(__doc__)
    split = argv.index("--")
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--grep", type=re.compile)
    parser.add_argument("allocators", nargs="+", metavar="NAME=PATH.so")
    arguments = parser.parse_args(argv[:split])
    arguments.command = argv[split + 1:]
    arguments.allocators = [a.partition("=")[::2] for a in arguments.allocators]
    return arguments


def run_once(measure_child, library, arguments, result):
    preload = ["-e", "LD_PRELOAD=" + os.path.realpath(library)] if library else []
    output = subprocess.run([measure_child, *preload, result, *arguments.command], check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    with open(result, encoding="ascii") as lines:
        fields = dict(line.split() for line in lines)
    if fields.get("exit") != "0":
        sys.exit(f"{library or 'sys'}: the command ended with {fields}")
    run = {"CPU s": (int(fields["user_us"]) + int(fields["system_us"])) / 1e6,
           "RSS MiB": int(fields["peak_rss_kib"]) / 1024, "faults": int(fields["minor_faults"])}
    for line in output.splitlines() if arguments.grep else ():
        if arguments.grep.search(line):
            label = re.sub(r"\s+", " ", re.split(r"\s{2,}|:", line.strip())[0])
            rest = line.strip()[len(label):]
            number = re.search(r"\d+(\.\d+)?", rest)
            if number:
                run[label] = float(number[0])
    return run


def main():
    arguments = parse_arguments()
    measure_child = os.path.join(arguments.build, "measure_child")
    runs = {name: [] for name, _ in arguments.allocators}
    with tempfile.TemporaryDirectory() as scratch:
        result = os.path.join(scratch, "result")
        for round_number in range(arguments.rounds):
            start = round_number % len(arguments.allocators)
            for name, library in arguments.allocators[start:] + arguments.allocators[:start]:
                runs[name].append(run_once(measure_child, library, arguments, result))
    base = arguments.allocators[0][0]
    print(f"{arguments.rounds} rounds of: {' '.join(arguments.command)}")
    print(f"{'':22}{'allocator':14}{'min':>11}{'median':>11}{'/ ' + base:>10}")
    for field in runs[base][0]:
        base_median = statistics.median(run[field] for run in runs[base])
        for name, _ in arguments.allocators:
            values = [run[field] for run in runs[name]]
            median = statistics.median(values)
            ratio = median / base_median if base_median else float("nan")
            print(f"{field[:21]:22}{name[:13]:14}{min(values):11.3f}{median:11.3f}{ratio:10.3f}")


if __name__ == "__main__":
    main()
