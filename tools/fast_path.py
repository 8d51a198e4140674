#!/usr/bin/env python3
# tools/fast_path.py — counts the executed instructions of warm calls. SPDX-License-Identifier: MIT
"""usage: fast_path.py --build DIR [--update]
       fast_path.py --build DIR --self-test

Steps DIR/test/golden/warm_calls, with DIR/libhakmem.so.1 preloaded, through one warm call of each entry
point, maps the addresses onto `objdump -d`, and counts what a magazine hit executes:

  instructions   all, `ret` and the TLS load too; landing pads (endbr64, bti) not
  branches       conditional jumps
  loads, stores  memory operands, push and pop among them; call and ret not; a pair (ldp) is one
  atomics        read-modify-write: lock-prefixed, xchg with memory, exclusive stores, LSE
  block stores   stores whose address lies in the block (0 .. size-1)
  outside        instructions in another library

Compares counts and path with test/golden/fast_path.<machine>.<compiler>.txt and enforces the hard limits;
--update writes that file. A file belongs to one version of its compiler; with another one only the limits
are checked. Libraries for aarch64 run under qemu.
"""
import argparse
import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

from machine_code import MACHINES
from stepping import SYSROOT_AARCH64, tracer

GOLDEN = Path(__file__).resolve().parent.parent / "test" / "golden"

# Entry point: most instructions and most conditional branches, by any of our compilers. On x86-64 what was
# promised, else what was reached. Where another design of the classes or of the pagemap is chosen: malloc
# by table of classes 17/2 (direct 14/2), free through a flat pagemap 17/2, two levels 22/2 (window 20/3).
# On aarch64 a variable's address is an instruction of its own, and so is each load.
LIMITS = {
    "x86_64": {
        "malloc_64": (14, 2), "malloc_2000": (22, 3), "new_64": (14, 2),
        "free_64": (20, 3), "free_2000": (20, 3), "free_sized_64": (20, 3),
        "delete_64": (20, 3), "delete_sized_64": (20, 3),
        "calloc_16": (24, 4), "calloc_64": (28, 5), "calloc_256": (42, 6),
        "realloc_64_to_60": (25, 3), "malloc_usable_size_64": (14, 2),
    },
    "aarch64": {
        "malloc_64": (17, 2), "malloc_2000": (23, 3), "new_64": (17, 2),
        "free_64": (28, 3), "free_2000": (28, 3), "free_sized_64": (29, 3),
        "delete_64": (28, 3), "delete_sized_64": (29, 3),
        "calloc_16": (27, 4), "calloc_64": (31, 5), "calloc_256": (39, 6),
        "realloc_64_to_60": (27, 3), "malloc_usable_size_64": (20, 2),
    },
}
LISTED_MAX = 60   # instructions; longer paths are no fast paths, only their counts are kept
STEPS_MAX = 20000
COUNTS = ("instructions", "branches", "loads", "stores", "atomics", "block stores", "outside")
LINE = re.compile(r"^\s*([0-9a-f]+):\s+(.*?)\s*$")


def run(*command, **kwargs):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)
    if result.returncode:
        sys.exit(f"fast_path: {Path(str(command[0])).name}: {result.stderr.strip()}")
    return result.stdout


class Case:
    """A warm call: the instructions of the library that it executed, and the registers before each."""

    def __init__(self, name, size, block, library):
        self.name, self.size, self.library = name, size, library
        self.block_is, self.result = block, 0
        self.steps, self.outside = [], 0

    def measure(self):
        instructions = [i for i in self.steps if i.is_counted]
        machine = self.library.machine
        block = (self.steps[0].values[machine.FIRST_ARGUMENT] if self.block_is == "argument"
                 else self.result)
        stored_to = [a for i in instructions for a in i.stored_to if a is not None]
        return dict(zip(COUNTS, (
            len(instructions), sum(i.is_conditional for i in instructions),
            sum(i.loads for i in instructions), sum(i.stores for i in instructions),
            sum(i.is_atomic for i in instructions),
            sum(0 <= a - block < self.size for a in stored_to), self.outside)))

    def listing(self):
        """The path without addresses: a jump goes to `on` (the next line) or `off` the path."""
        if len(self.steps) > LISTED_MAX:
            return []
        base = self.library.base
        places = [i.values["pc"] - base for i in self.steps[1:]] + [None]
        pages = set()
        return ["    " + i.listed(following, self.library.name_of, base, pages)
                for i, following in zip(self.steps, places)]


class Library:
    """A shared object: its code, its variables, and where it is loaded."""

    def __init__(self, path):
        self.path, self.base = path, 0
        self.machine_name = machine_of(path)
        self.machine = MACHINES[self.machine_name]
        objdump = "objdump" if self.machine_name == os.uname().machine else \
            f"{self.machine_name}-linux-gnu-objdump"
        self.code, self.slots, self.variables = {}, {}, []
        for line in run(objdump, "-d", "--no-show-raw-insn", path).splitlines():
            if match := LINE.match(line):
                self.code[int(match[1], 16)] = re.sub(r"\s+", " ", match[2])
        for line in run(objdump, "-R", path).splitlines():
            fields = line.split()
            if len(fields) == 3 and re.fullmatch(r"[0-9a-f]+", fields[0]):
                name = "tls" if "TPOFF" in fields[1] or "TPREL" in fields[1] \
                    else fields[2].split("@")[0].split("+")[0]
                self.slots[int(fields[0], 16)] = f"got:{name}"
        for line in run("nm", "-S", path).splitlines():
            fields = line.split()
            if len(fields) == 4 and fields[2] in "bBdDrR":
                self.variables.append((int(fields[0], 16), int(fields[1], 16), fields[3]))

    def instruction(self, values):
        text = self.code.get(values["pc"] - self.base)
        if text is None:
            sys.exit(f"fast_path: no instruction at {values['pc']:#x}")
        return self.machine(text, values)

    def name_of(self, address):
        """The variable at a place in the file, or None."""
        if address in self.slots:
            return self.slots[address]
        for begin, size, name in self.variables:
            if begin <= address < begin + size:
                return name + (f"+{address - begin:#x}" if address > begin else "")
        return None

    def compiler(self):
        """`gcc 12.2.0`; the C library's start files bring gcc's name into clang's libraries, too."""
        text = run("readelf", "-p", ".comment", self.path)
        matches = dict(re.findall(r"(GCC|clang)[^\n]*?(\d+\.\d+\.\d+)", text))
        name = "clang" if "clang" in matches else "GCC"
        return f"{name.lower()} {matches.get(name, 'unknown')}"


def machine_of(path):
    text = run("readelf", "-h", path)
    return "aarch64" if "AArch64" in text else "x86_64"


def on_this_machine(path, machine_name):
    """qemu looks below its sysroot first."""
    below = Path(f"{SYSROOT_AARCH64}{path}")
    return below if machine_name == "aarch64" and below.exists() else Path(path).resolve()


def step_cases(process, machine_name):
    cases, texts, library = {}, {}, None
    while process.resume():
        while (words := process.output.readline().split())[0] == "text":
            texts[words[1]] = range(int(words[3], 16), int(words[4], 16))
            if words[1] == "library":
                library = Library(on_this_machine(words[5], machine_name))
                library.base = int(words[2], 16)
        case = cases[words[1]] = Case(words[1], int(words[3]), words[5], library)
        was_outside = False
        while True:
            values = process.registers()
            is_outside = values["pc"] not in texts["program"]
            if values["pc"] in texts["library"]:
                case.steps.append(library.instruction(values))
            elif is_outside:
                case.outside += 1
            elif was_outside:
                case.result = values[library.machine.RESULT]
            was_outside = is_outside
            if len(case.steps) + case.outside > STEPS_MAX:
                sys.exit(f"fast_path: {case.name}: the call does not end")
            if not process.step():
                break
    return cases, library


def step(build, preload, names=()):
    """Runs warm_calls; ({name: Case}, the Library that malloc is in)."""
    program = Path(build, "test", "golden", "warm_calls")
    machine_name = machine_of(program)
    process = tracer(machine_name, program, names, preload)
    try:
        cases, library = step_cases(process, machine_name)
    finally:
        process.end()
    if preload and library.path != preload:
        sys.exit(f"fast_path: malloc comes from {library.path}, not from {preload}")
    return cases, library


def over_limits(cases, library):
    limits = LIMITS[library.machine_name]
    for name, case in cases.items():
        counts = case.measure()
        instructions, branches = limits[name]
        if counts["instructions"] > instructions or counts["branches"] > branches:
            yield (f"{name}: {counts['instructions']} instructions, {counts['branches']} branches; "
                   f"limit {instructions}/{branches}")
        if counts["outside"] or counts["atomics"]:
            yield f"{name}: leaves the library or uses an atomic"
        if name.startswith(("free", "delete")) and counts["block stores"]:
            yield f"{name}: stores to the block"


def describe(cases, library):
    lines = ["# Executed instructions of a magazine hit, release build; by tools/fast_path.py --update.",
             "# In the listings a jump is taken `on` the path, or would lead `off` it.",
             f"# compiler: {library.compiler()}"]
    for case in cases.values():
        counts = case.measure()
        lines += ["", f"{case.name}: " + ", ".join(f"{counts[c]} {c}" for c in COUNTS)]
        lines += case.listing()
    return "\n".join(lines) + "\n"


def self_test(build):
    """glibc is known to break our limits and to store into freed blocks: both must be seen."""
    cases, library = step(build, None, ("malloc_64", "malloc_2000", "free_64", "free_2000"))
    breaches = list(over_limits(cases, library))
    for wanted in ("malloc_64: ", "free_64: stores to the block"):
        if not any(b.startswith(wanted) for b in breaches):
            sys.exit(f"fast_path: self-test: not seen in {library.path}: {wanted}; seen: {breaches}")
    print("self-test: " + "; ".join(breaches))


def check(path, text, compiler):
    """Differences from the golden file; none when it was made by another compiler."""
    golden = path.read_text()
    made_by = re.search(r"^# compiler: (.*)$", golden, re.M)[1]
    if made_by != compiler:
        print(f"{path.name} is for {made_by}, the library is from {compiler}: only limits checked")
        return []
    return list(difflib.unified_diff(golden.splitlines(), text.splitlines(), str(path), "now",
                                     lineterm=""))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=Path)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test(arguments.build)
    cases, library = step(arguments.build, Path(arguments.build, "libhakmem.so.1").resolve(strict=True))
    text = describe(cases, library)
    problems = list(over_limits(cases, library))
    path = GOLDEN / f"fast_path.{library.machine_name}.{library.compiler().split()[0]}.txt"
    if arguments.update:
        path.write_text(text)
    else:
        problems += check(path, text, library.compiler())
    print("\n".join(line for line in text.splitlines() if line.endswith("outside")))
    if problems:
        sys.exit("\n".join(["fast_path: not as it should be:"] + problems))
    return 0


sys.exit(main())
