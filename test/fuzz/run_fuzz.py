#!/usr/bin/env python3
# test/fuzz/run_fuzz.py — runs the fuzz targets for a time. SPDX-License-Identifier: MIT
"""Runs each target for its share of the time, from the corpus of the tree and what earlier runs found.

usage: run_fuzz.py BUILD MINUTES [TARGET] [--jobs N]      BUILD: the build directory of the preset fuzz
       run_fuzz.py BUILD --corpus                         makes the tree's corpus anew, from what was found

What is found stays in BUILD/fuzz/<target>/corpus. A line for each target and run is added to
BUILD/fuzz/log. Exit status 1: a target failed, and the input is named.
"""
import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# Shares of the time: how much there is to find, in how slow a target.
SHARES = {"calls": 5, "spans": 3, "options": 2, "stat": 1, "elf": 1}
INPUT_BYTES_MAX = {"calls": 1024, "spans": 1024, "options": 1500, "stat": 1500, "elf": 1500}
INPUT_SECONDS_MAX = 60  # above: a hang
# The tree's corpus: what it may have of each target, small inputs first.
KEPT_FILES_MAX = {"calls": 45, "spans": 25, "options": 15, "stat": 8, "elf": 7}
KEPT_BYTES_MAX = 400  # of one input

HERE = Path(__file__).resolve().parent


@dataclass
class Outcome:
    """What one target did."""
    target: str
    executions: int
    cpu_s: float
    edges: int
    edges_all: int
    found: int       # inputs that reached something new
    corpus: int      # inputs kept
    failures: list   # inputs that failed


def number(pattern, text):
    """The last number that the pattern's group matches; 0: none."""
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


class Target:
    def __init__(self, build, name):
        self.name = name
        self.program = build / "test" / "fuzz" / f"fuzz_{name}"
        self.work = build / "fuzz" / name
        self.corpus = self.work / "corpus"
        self.failed = self.work / "failed"
        self.tree = HERE / "corpus" / name
        for folder in (self.corpus, self.failed):
            folder.mkdir(parents=True, exist_ok=True)

    def command(self, *options):
        dictionary = HERE / f"{self.name}.dict"
        words = [f"-dict={dictionary}"] if dictionary.exists() else []
        return [str(self.program), *words, f"-artifact_prefix={self.failed}/",
                f"-max_len={INPUT_BYTES_MAX[self.name]}", f"-timeout={INPUT_SECONDS_MAX}", *options]

    def call(self, *options):
        """Its output and the seconds of CPU it took."""
        environment = dict(os.environ, ASAN_OPTIONS="abort_on_error=1:handle_abort=0:detect_leaks=0",
                           UBSAN_OPTIONS="print_stacktrace=1")
        log = self.work / "output"
        with open(log, "wb") as out:
            child = subprocess.Popen(self.command(*options), stdout=out, stderr=out,
                                     env=environment, preexec_fn=lambda: os.nice(19))
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        return child.returncode, log.read_text(errors="replace"), usage.ru_utime + usage.ru_stime

    def failures(self):
        """What libFuzzer calls slow is no failure: the machine has other work."""
        return {path for path in self.failed.iterdir() if not path.name.startswith("slow-unit")}

    def run(self, seconds):
        before = self.failures()
        status, output, cpu_s = self.call(
            f"-max_total_time={seconds}", "-len_control=0", "-print_final_stats=1",
            str(self.corpus), str(self.tree))
        failures = sorted(self.failures() - before)
        if status != 0 and not failures:
            failures = [self.work / "output"]  # it failed without an input: no start, no memory
        return Outcome(self.name, number(r"stat::number_of_executed_units: *(\d+)", output), cpu_s,
                       number(r"\bcov: (\d+)", output),
                       number(r"Loaded 1 modules +\((\d+) inline", output),
                       number(r"stat::new_units_added: *(\d+)", output), self.merge(), failures)

    def merge(self):
        """Keeps of the corpus only what reaches something that no smaller input reaches."""
        merged = self.work / "merged"
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir()
        status, _, _ = self.call("-merge=1", str(merged), str(self.corpus), str(self.tree))
        if status == 0:
            shutil.rmtree(self.corpus)
            merged.rename(self.corpus)
        return len(list(self.corpus.iterdir()))

    def keep(self):
        """Rewrites the tree's corpus: of small inputs those that reach edges which no other does."""
        small = self.work / "small"
        shutil.rmtree(small, ignore_errors=True)
        small.mkdir()
        chosen = self.work / "chosen"
        shutil.rmtree(chosen, ignore_errors=True)
        chosen.mkdir()
        for source in sorted(self.corpus.iterdir()):
            if source.stat().st_size <= KEPT_BYTES_MAX:
                shutil.copy(source, small)
        # Without counters an input is new by its edges alone.
        self.call("-merge=1", "-use_counters=0", str(chosen), str(small))
        # More than the tree shall have: every k-th, the longest first, as they reach most.
        inputs = sorted(chosen.iterdir(), key=lambda path: (path.stat().st_size, path.name))
        step = max(1, -(-len(inputs) // KEPT_FILES_MAX[self.name]))
        shutil.rmtree(self.tree, ignore_errors=True)
        self.tree.mkdir(parents=True)
        for source in inputs[::-1][::step]:
            shutil.copy(source, self.tree)


def report(build, outcomes, minutes):
    lines = [f"{time.strftime('%Y-%m-%d %H:%M')} {o.target}: {o.executions} executions, "
             f"{o.cpu_s:.0f} s of CPU, {o.edges} of {o.edges_all} edges, {o.found} new inputs, "
             f"{o.corpus} kept" + "".join(f"; FAILED: {path}" for path in o.failures)
             for o in outcomes]
    total = (f"{len(outcomes)} targets in {minutes:g} minutes: "
             f"{sum(o.executions for o in outcomes)} executions, "
             f"{sum(o.cpu_s for o in outcomes) / 60:.1f} minutes of CPU, "
             f"{sum(len(o.failures) for o in outcomes)} failures")
    with open(build / "fuzz" / "log", "a", encoding="utf-8") as log:
        log.write("\n".join(lines + [total]) + "\n")
    print("\n".join(lines + [total]))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    parser.add_argument("target", choices=sorted(SHARES), nargs="?")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--corpus", action="store_true", help="rewrite the corpus of the tree")
    options = parser.parse_intermixed_args()
    build = options.build.resolve()
    names = [options.target] if options.target else list(SHARES)
    targets = [Target(build, name) for name in names]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if options.corpus:
        for target in targets:
            target.keep()
        return 0
    jobs = min(options.jobs, len(targets))
    shares = sum(SHARES[name] for name in names)

    def run(target):
        part = min(1, jobs * SHARES[target.name] / shares)
        return target.run(max(1, int(options.minutes * 60 * part)))

    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(run, targets))
    report(build, outcomes, options.minutes)
    return 1 if any(outcome.failures for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
