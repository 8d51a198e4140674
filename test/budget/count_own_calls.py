#!/usr/bin/env python3
# test/budget/count_own_calls.py — the library's own system calls. SPDX-License-Identifier: MIT
"""Counts a library's own system calls: those whose instruction pointer lies in its text.

usage: count_own_calls.py [--no-preload] [--brackets] LIBRARY COMMAND [ARGUMENT]...

COMMAND runs with LIBRARY preloaded (or, with --no-preload, loading it by itself) under
`strace -ff -i`, which writes one file per process with the instruction pointer before each call.
The text is the library's executable mapping, found in the same files: the mmap with PROT_EXEC of a
descriptor that openat gave for the library. A new process begins with its parent's mappings; exec
forgets them.

Prints `call count` lines and `total N`. --brackets: counts only between the marks of
bench_boundaries, one line per bracket. The exit status is COMMAND's.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

LINE = re.compile(r"^\[\s*([0-9a-f]+|\?+)\] (\w+)\((.*)$")
RESULT = re.compile(r" = (-?[0-9]+|0x[0-9a-f]+)(?: |$)")
AGAIN = re.compile(r" = \? ERESTART(SYS|NOINTR|NOHAND) ")
MARK = re.compile(r'^-1, "steady-(begin|end) ([^"]*)"')
FORKS = {"fork", "vfork", "clone", "clone3"}


@dataclass(frozen=True)
class Call:
    """One system call of one process."""
    name: str
    pointer: int      # instruction pointer, 0 if unknown
    arguments: str
    result: int


@dataclass
class Traced:
    """What a traced run shows."""
    status: int = 0
    stdout: bytes = b""
    own: Counter = field(default_factory=Counter)        # call -> count
    brackets: dict = field(default_factory=dict)         # label -> Counter of own calls in it
    library_seen: bool = False                           # its text was mapped at all


def parse_calls(path):
    for line in path.read_text(errors="replace").splitlines():
        found = LINE.match(line)
        if not found:
            continue  # signals, exits
        pointer, name, rest = found.groups()
        if AGAIN.search(rest) or name == "restart_syscall":
            continue  # interrupted, by strace's own stops too, and shown once more when the kernel goes on
        results = RESULT.findall(rest)
        yield Call(name, 0 if "?" in pointer else int(pointer, 16), rest,
                   int(results[-1], 0) if results else -1)


class Process:
    """Follows the mappings of one process through its calls."""

    def __init__(self, library, texts=()):
        self.library = library
        self.texts = list(texts)       # (begin, end) of executable mappings
        self.descriptors = set()       # open on the library

    def follow(self, call):
        if call.name == "execve" and call.result == 0:
            self.texts.clear()
            self.descriptors.clear()
        elif call.name in ("openat", "open") and call.result >= 0:
            path = re.search(r'"([^"]*)"', call.arguments)
            if path and os.path.realpath(path[1]) == self.library:
                self.descriptors.add(call.result)
        elif call.name == "close":
            self.descriptors.discard(int(re.match(r"-?[0-9]+", call.arguments)[0]))
        elif call.name == "mmap" and call.result > 0 and "PROT_EXEC" in call.arguments:
            parts = call.arguments.split(", ")
            if len(parts) >= 6 and parts[4].isdigit() and int(parts[4]) in self.descriptors:
                self.texts.append((call.result, call.result + int(parts[1])))

    def owns(self, call):
        return any(begin <= call.pointer < end for begin, end in self.texts)


def count_process(traced, files, pid, process):
    """Counts one process and, from where it was created, each of its children."""
    bracket = None
    for call in parse_calls(files.pop(pid)):
        process.follow(call)
        mark = MARK.match(call.arguments) if call.name == "write" else None
        if mark:
            bracket = mark[2] if mark[1] == "begin" else None
            if bracket is not None:
                traced.brackets.setdefault(bracket, Counter())
        elif process.owns(call):
            traced.own[call.name] += 1
            if bracket is not None:
                traced.brackets[bracket][call.name] += 1
        if call.name in FORKS and call.result in files:
            count_process(traced, files, call.result, Process(process.library, process.texts))
    traced.library_seen = traced.library_seen or bool(process.texts)


def trace(library, command, preload=True, environment=None, timeout=None):
    """Runs the command under strace; what was counted."""
    library = os.path.realpath(library)
    with tempfile.TemporaryDirectory(prefix="hakmem-calls-") as directory:
        prefix = Path(directory) / "trace"
        # By strace's own -E, so that strace itself keeps its allocator. -s: the marks are short.
        options = ["-E", f"LD_PRELOAD={library}"] if preload else []
        run = subprocess.run(["strace", "-ff", "-i", "-s", "64", "-o", prefix, *options, *command],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment,
                             timeout=timeout, check=False)
        files = {int(path.suffix[1:]): path for path in Path(directory).iterdir()}
        children = {call.result for path in files.values() for call in parse_calls(path)
                    if call.name in FORKS}
        traced = Traced(run.returncode, run.stdout)
        for pid in sorted(set(files) - children):
            count_process(traced, files, pid, Process(library))
    return traced


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-preload", action="store_true", help="COMMAND loads it by itself")
    parser.add_argument("--brackets", action="store_true", help="only between marks")
    parser.add_argument("library")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command:
        parser.error("no command")
    traced = trace(options.library, options.command, not options.no_preload)
    if not traced.library_seen:
        print(f"{options.library} was not mapped by {options.command[0]}", file=sys.stderr)
        return 1
    if options.brackets:
        for label, calls in traced.brackets.items():
            print(label, sum(calls.values()), dict(calls) or "")
    else:
        for name, count in traced.own.most_common():
            print(name, count)
        print("total", sum(traced.own.values()))
    return traced.status


if __name__ == "__main__":
    sys.exit(main())
