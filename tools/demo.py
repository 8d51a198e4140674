#!/usr/bin/env python3
# tools/demo.py — runs a benchmark and a real program under glibc and hakmem, prints one table.
# SPDX-License-Identifier: MIT
"""Compare hakmem with the C library's own malloc on this machine.

Each round runs every workload under every allocator, starting with another allocator than the round
before, so that a machine that grows warm or busy treats both alike. Timed runs are neither traced
nor observed; system calls and the exit report come from runs of their own afterwards.
"""
import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ALLOCATORS = ("glibc", "hakmem")
WIDTH = 80
STRUCTURE = Path(__file__).resolve().parent.parent / "bench" / "python_structure.py"
# What would make one of the two allocators another one than by default.
STRAY_VARIABLES = re.compile(r"LD_PRELOAD|GLIBC_TUNABLES|MALLOC_|HAKMEM_|PYTHON")


class DemoError(Exception):
    """Something that makes the comparison impossible, in words for the user."""


class Workload:
    def __init__(self, title, detail, command, environment=None):
        self.title = title
        self.detail = detail
        self.command = command
        self.environment = environment or {}
        self.runs = {allocator: [] for allocator in ALLOCATORS}
        self.system_calls = {}  # allocator → count; empty when they could not be counted
        self.ledger = None  # [(call, cause, count)] of hakmem's exit report

    def median(self, allocator, field):
        return statistics.median(run[field] for run in self.runs[allocator])

    def seconds_min(self, allocator):
        return min(run["seconds"] for run in self.runs[allocator])


class Demo:
    def __init__(self, build, rounds):
        self.build = build
        self.rounds = rounds
        self.library = self.need("libhakmem.so.1")
        self.command_line_tool = self.need("hakmem")
        self.measure_child = self.need("measure_child")
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not STRAY_VARIABLES.match(name)
        }

    def need(self, name):
        path = self.build / name
        if not path.exists():
            raise DemoError(f"{path} is missing: build first, or name the build directory")
        return path

    def variables(self, workload, allocator):
        """What a run's environment has beyond ours."""
        preload = {"LD_PRELOAD": str(self.library)} if allocator == "hakmem" else {}
        return {**workload.environment, **preload}

    def run(self, command, extra_variables=None):
        """Run a command of ours to its end; its output, or an error that shows it."""
        done = subprocess.run(
            [str(word) for word in command],
            env={**self.environment, **(extra_variables or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode != 0:
            words = " ".join(str(word) for word in command)
            said = done.stderr.strip() or "nothing on stderr"
            raise DemoError(f"{words}\nended with {describe_status(done.returncode)}: {said}")
        return done

    def run_timed(self, workload, allocator):
        with tempfile.TemporaryDirectory() as directory:
            result = Path(directory) / "result"
            command = [self.measure_child]
            for name, value in self.variables(workload, allocator).items():
                command += ["-e", f"{name}={value}"]
            done = self.run([*command, result, *workload.command])
            measured = dict(line.split() for line in result.read_text().splitlines())
        if measured.get("exit") != "0":
            how = "signal " + measured["signal"] if "signal" in measured else measured["exit"]
            said = done.stderr.strip() or "nothing on stderr"
            raise DemoError(f"{workload.title} under {allocator} ended with {how}: {said}")
        printed = dict(
            line.split() for line in done.stdout.splitlines() if len(line.split()) == 2
        )
        workload.runs[allocator].append(
            {
                "seconds": int(measured["wall_ns"]) / 1e9,
                "rate": float(printed["ops/s"]),
                "peak_rss_kib": int(measured["peak_rss_kib"]),
                "minor_faults": int(measured["minor_faults"]),
                "checksum": printed["checksum"],
            }
        )

    def run_all(self, workloads):
        for round_number in range(self.rounds):
            first = round_number % len(ALLOCATORS)
            for workload in workloads:
                for allocator in ALLOCATORS[first:] + ALLOCATORS[:first]:
                    progress(f"round {round_number + 1} of {self.rounds}: "
                             f"{workload.title} under {allocator}")
                    self.run_timed(workload, allocator)
        for workload in workloads:
            checksums = {run["checksum"] for runs in workload.runs.values() for run in runs}
            if len(checksums) != 1:
                raise DemoError(f"{workload.title}: checksums differ: {sorted(checksums)}")

    def count_system_calls(self, workload, allocator):
        """All system calls of the process and its threads, the loader's included."""
        progress(f"counting system calls: {workload.title} under {allocator}")
        with tempfile.TemporaryDirectory() as directory:
            trace = Path(directory) / "trace"
            # -E: for the command alone, not for strace itself.
            command = ["strace", "-f", "-o", trace]
            for name, value in self.variables(workload, allocator).items():
                command += ["-E", f"{name}={value}"]
            self.run([*command, *workload.command])
            with open(trace, errors="replace") as lines:
                # A call that is interrupted has a second line, "<... name resumed>".
                return sum(1 for line in lines if re.match(r"\d+\s+\w+\(", line))

    def read_ledger(self, workload):
        """hakmem's own system calls by cause; the run starts by `hakmem run`, as a user's would."""
        progress(f"reading the exit report: {workload.title}")
        tool = [self.command_line_tool, "run", "--lib", self.library, "-o", "report=1", "--"]
        done = self.run([*tool, *workload.command], workload.environment)
        cells = re.findall(r"^hakmem: ledger (\S+) (\S+) (\d+) \d+$", done.stderr, re.MULTILINE)
        total = re.findall(r"^hakmem: ledger total (\d+)$", done.stderr, re.MULTILINE)
        if not total:
            return None
        return [(call, cause, int(count)) for call, cause, count in cells]


def describe_status(status):
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def progress(text):
    """One line that is overwritten; nothing when nobody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def with_unit(value):
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def ratio(hakmem, glibc):
    return f"{hakmem / glibc:.2f}" if glibc else "-"


def table_row(cells):
    return "{:<20}{:<13}{:>7}{:>8}{:>9}{:>8}{:>8}{:>7}".format(*cells).rstrip()


def print_table(workloads):
    print(table_row(("", "", "time s", "", "ops/s", "peak", "minor", "system")))
    print(table_row(("workload", "allocator", "median", "min", "median", "MiB", "faults", "calls")))
    for workload in workloads:
        print("-" * WIDTH)
        values = {}
        for allocator in ALLOCATORS:
            values[allocator] = (
                workload.median(allocator, "seconds"),
                workload.seconds_min(allocator),
                workload.median(allocator, "rate"),
                workload.median(allocator, "peak_rss_kib") / 1024,
                workload.median(allocator, "minor_faults"),
                workload.system_calls.get(allocator),
            )
        for allocator, label in zip(ALLOCATORS, (workload.title, workload.detail)):
            median, least, rate, rss, faults, calls = values[allocator]
            print(table_row((label, allocator, f"{median:.3f}", f"{least:.3f}", with_unit(rate),
                             f"{rss:.1f}", f"{faults:.0f}", "?" if calls is None else calls)))
        ratios = [
            "-" if None in pair else ratio(*pair)
            for pair in zip(values["hakmem"], values["glibc"])
        ]
        print(table_row(("", "hakmem/glibc", *ratios)))
    print("-" * WIDTH)


def print_ledger(workloads):
    print("\nhakmem's own system calls, by cause (its exit report, another untimed run):")
    for workload in workloads:
        if workload.ledger is None:
            print(f"  {workload.title}: no exit report; was the library loaded at all?")
            continue
        total = sum(count for _, _, count in workload.ledger)
        cells = ", ".join(f"{call} {cause} {count}" for call, cause, count in workload.ledger)
        text = f"{workload.title}: {total} in all" + (f": {cells}" if cells else "")
        print(textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ",
                            break_on_hyphens=False))


def describe_machine():
    model = "unknown processor"
    try:
        text = Path("/proc/cpuinfo").read_text()
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        model = found[1] if found else platform.machine()
    except OSError:
        pass
    libc = " ".join(platform.libc_ver())
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, {libc}"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="directory with libhakmem.so.1 and the programs")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--operations", type=int, default=60_000_000,
                        help="of bench_random_mixed (default 60000000, about a second)")
    parser.add_argument("--records", type=int, default=60_000,
                        help="of the python3 structure (default 60000, about a second)")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.operations, arguments.records) < 1:
        parser.error("--rounds, --operations and --records must be at least 1")
    return arguments


def main():
    arguments = parse_arguments()
    demo = Demo(arguments.build.resolve(), arguments.rounds)
    mixed = (str(arguments.operations), "256", "42")
    workloads = [
        Workload("bench_random_mixed", " ".join(mixed),
                 (demo.need("bench_random_mixed"), *mixed)),
        Workload("python3 structure", f"{arguments.records} records",
                 ("/usr/bin/python3", STRUCTURE, str(arguments.records)),
                 {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}),
    ]
    demo.run_all(workloads)

    no_calls = None
    if shutil.which("strace") is None:
        no_calls = "strace is not installed"
    else:
        try:
            for workload in workloads:
                for allocator in ALLOCATORS:
                    workload.system_calls[allocator] = demo.count_system_calls(workload, allocator)
        except DemoError as error:
            no_calls = f"strace cannot trace here: {error}"
    for workload in workloads:
        workload.ledger = demo.read_ledger(workload)
    progress("")

    print(textwrap.fill(describe_machine(), WIDTH))
    print(f"{demo.rounds} rounds; time, faults and calls are those of the whole process, its start")
    print("included; ops/s is what the program reports of its own loop\n")
    print_table(workloads)
    if no_calls is not None:
        print(f"System calls were not counted: {no_calls}")
    print_ledger(workloads)
    return 1 if any(workload.ledger is None for workload in workloads) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DemoError as error:
        progress("")
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        progress("")
        sys.exit(130)
