#!/usr/bin/env python3
# tools/compare.py — one command under several allocators, interleaved. SPDX-License-Identifier: MIT
"""Compare allocators on a command of yours.

    tools/compare.py BUILD_DIR [OPTION...] NAME=PATH.so[,VARIABLE=VALUE]... -- COMMAND [ARGUMENT]...

NAME=sys or NAME= is the C library's own malloc. VARIABLE=VALUE is set for this allocator only: two
NAMEs may stand for one library with different settings. The first allocator is the one the others
are divided by. Needs measure_child from BUILD_DIR.

    --rounds N       how often each allocator runs (7)
    --value NAME     compare, too, the number behind NAME in the command's output; may be repeated
    --grep REGEX     the same for the first number in each output line that matches
    --timeout S      end a run after S seconds; it counts as failed

Each round runs every allocator once, starting with another one than the round before, so a machine
whose speed drifts treats all alike. Prints minimum, median and maximum of wall and CPU time, peak RSS
and minor faults, and the ratio of the medians. A run that fails is left out of them and reported
below; then the exit status is 1.
"""
import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile

FIELDS = {  # of measure_child's result: what we print, and by what to divide
    "wall_ns": ("wall s", 1e9), "user_us": ("user s", 1e6), "system_us": ("system s", 1e6),
    "cpu_us": ("CPU s", 1e6), "peak_rss_kib": ("RSS MiB", 1024), "minor_faults": ("faults", 1)}
NUMBER = re.compile(r"-?\d+(\.\d+)?")


class RunFailed(Exception):
    pass


def parse_allocator(text):
    """`NAME=PATH.so,VARIABLE=VALUE` → the name and what is added to the command's environment."""
    name, _, rest = text.partition("=")
    library, *settings = rest.split(",")
    if not name or any("=" not in setting for setting in settings):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH.so[,VARIABLE=VALUE]...")
    if library and library != "sys":
        if not os.path.exists(library):
            raise argparse.ArgumentTypeError(f"no file {library}")
        settings.append("LD_PRELOAD=" + os.path.realpath(library))
    return name, settings


def parse_arguments():
    argv = sys.argv[1:]
    if "--" not in argv:
        sys.exit(__doc__)
    split = argv.index("--")
    parser = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--value", action="append", default=[])
    parser.add_argument("--grep", type=re.compile)
    parser.add_argument("--timeout", type=float)
    parser.add_argument("allocators", nargs="+", type=parse_allocator, metavar="NAME=PATH.so")
    arguments = parser.parse_args(argv[:split])
    arguments.command = argv[split + 1:]
    if len(dict(arguments.allocators)) != len(arguments.allocators):
        parser.error("two allocators of one name")
    return arguments


def read_output(output, arguments):
    """The numbers that --value and --grep ask for, by the name they are printed under."""
    numbers = {}
    for line in map(str.strip, output.splitlines()):
        words = line.split(maxsplit=1)
        if len(words) == 2 and words[0].rstrip(":") in arguments.value:
            label, rest = words[0].rstrip(":"), words[1]
        elif arguments.grep and arguments.grep.search(line):
            label = re.sub(r"\s+", " ", re.split(r"\s{2,}|:", line)[0])
            rest = line[len(label):]
        else:
            continue
        number = NUMBER.search(rest)
        if number:
            numbers[label] = float(number[0])
    return numbers


def run_once(measure_child, settings, arguments, result):
    additions = [word for setting in settings for word in ("-e", setting)]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    child = subprocess.Popen([measure_child, *additions, result, *arguments.command],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, errors="replace",
                             env=environment, start_new_session=True)
    try:
        output, errors = child.communicate(timeout=arguments.timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # the command, too
        child.communicate()
        raise RunFailed(f"not done after {arguments.timeout:g} s") from None
    last_line = (errors.strip().splitlines() or ["nothing on stderr"])[-1]
    if child.returncode != 0:
        raise RunFailed(last_line)
    with open(result, encoding="ascii") as lines:
        fields = {name: int(value) for name, value in map(str.split, lines)}
    if fields.get("exit") != 0:
        how = "exit" if "exit" in fields else "signal"
        raise RunFailed(f"{how} {fields[how]}: {last_line}")
    fields["cpu_us"] = fields["user_us"] + fields["system_us"]
    run = {label: fields[name] / unit for name, (label, unit) in FIELDS.items()}
    numbers = read_output(output, arguments)
    for name in arguments.value:
        if name not in numbers:
            raise RunFailed(f"its output has no number behind {name}")
    return {**run, **numbers}


def run_all(arguments):
    measure_child = os.path.join(arguments.build, "measure_child")
    runs = {name: [] for name, _ in arguments.allocators}
    failures = {name: [] for name, _ in arguments.allocators}
    with tempfile.TemporaryDirectory() as scratch:
        result = os.path.join(scratch, "result")
        for round_number in range(arguments.rounds):
            start = round_number % len(arguments.allocators)
            for name, settings in arguments.allocators[start:] + arguments.allocators[:start]:
                try:
                    runs[name].append(run_once(measure_child, settings, arguments, result))
                except RunFailed as failure:
                    failures[name].append(str(failure))
    return runs, failures


def show(value):
    return f"{value:13.3f}" if abs(value) < 1e6 else f"{value:13.0f}"


def print_table(runs):
    base = next(iter(runs))
    labels = dict.fromkeys(label for of in runs.values() for run in of for label in run)
    print(f"{'':22}{'allocator':14}{'min':>13}{'median':>13}{'max':>13}{'/ ' + base:>10}")
    for label in labels:
        values = {name: [run[label] for run in of if label in run] for name, of in runs.items()}
        base_median = statistics.median(values[base]) if values[base] else 0
        for name, of in values.items():
            if of:
                median = statistics.median(of)
                ratio = f"{median / base_median:10.3f}" if base_median else f"{'–':>10}"
                print(f"{label[:21]:22}{name[:13]:14}"
                      f"{show(min(of))}{show(median)}{show(max(of))}{ratio}")


def main():
    arguments = parse_arguments()
    runs, failures = run_all(arguments)
    print(f"{arguments.rounds} rounds of: {' '.join(arguments.command)}")
    print_table(runs)
    for name, of in failures.items():
        for why in sorted(set(of)):
            print(f"failed: {name}: {of.count(why)} of {arguments.rounds} runs: {why}")
    return 1 if any(failures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
