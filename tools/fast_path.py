#!/usr/bin/env python3
# tools/fast_path.py — counts the executed instructions of warm calls. SPDX-License-Identifier: MIT
"""usage: fast_path.py --build DIR [--check FILE | --update FILE]
       fast_path.py --build DIR --self-test

Runs DIR/test/golden/step_path with DIR/libhakmem.so.1 preloaded, maps the addresses it stepped over
onto `objdump -d`, and counts per entry point what a magazine hit executes:

  instructions   all, `ret` and the TLS load too; endbr64 not
  branches       conditional jumps
  loads, stores  memory operands, push and pop among them; call and ret not
  atomics        lock-prefixed, and xchg with memory
  block stores   stores whose address lies in the block (0 .. size-1)
  outside        instructions in another library

--update writes the counts and the path to FILE; --check compares with FILE and enforces the hard
limits. FILE belongs to one version of the compiler; with another one only the limits are checked.
"""
import argparse
import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

# Entry point: most instructions, most conditional branches of a Tiny hit. Where another design of
# the classes or of the pagemap is chosen: malloc by table of classes 17/2 (direct 14/2), free
# through a flat pagemap 17/2, two levels 22/2 (window 20/3). A Mid hit costs what it costs.
LIMITS = {
    "malloc_64": (14, 2),
    "new_64": (14, 2),
    "free_64": (20, 3),
    "free_2000": (20, 3),
    "free_sized_64": (20, 3),
    "delete_64": (20, 3),
}
LISTED_MAX = 60  # instructions; longer paths are no fast paths, only their counts are kept
REGISTERS = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15".split()
PREFIXES = {"lock", "rep", "repz", "repnz", "notrack", "bnd", "data16", "cs", "ds"}
COUNTS = ("instructions", "branches", "loads", "stores", "atomics", "block stores", "outside")
LINE = re.compile(r"^\s*([0-9a-f]+):\s+(.*?)\s*$")
MEMORY = re.compile(r"(%[fg]s:)?(-?0x[0-9a-f]+|-?\d+)?\(([^)]*)\)|%[fg]s:0x[0-9a-f]+")


def run(*command, **kwargs):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)
    if result.returncode:
        sys.exit(f"fast_path: {Path(str(command[0])).name}: {result.stderr.strip()}")
    return result.stdout


def compiler_of(library):
    text = run("readelf", "-p", ".comment", library)
    match = re.search(r"(GCC|clang)[^\n]*?(\d+\.\d+\.\d+)", text)
    return f"{match[1].lower()} {match[2]}" if match else "unknown"


def disassemble(library):
    """{address: text} of the library, {address: name} of its slots in the GOT, {variable: bytes}."""
    code, slots, sizes = {}, {}, {}
    for line in run("objdump", "-d", "--no-show-raw-insn", library).splitlines():
        if match := LINE.match(line):
            code[int(match[1], 16)] = re.sub(r"\s+", " ", match[2])
    for line in run("objdump", "-R", library).splitlines():
        fields = line.split()
        if len(fields) == 3 and re.fullmatch(r"[0-9a-f]+", fields[0]):
            name = "tls" if "TPOFF" in fields[1] else fields[2].split("@")[0].split("+")[0]
            slots[int(fields[0], 16)] = f"got:{name}"
    for line in run("nm", "-S", library).splitlines():
        fields = line.split()
        if len(fields) == 4:
            sizes[fields[3]] = int(fields[1], 16)
    return code, slots, sizes


class Instruction:
    """One executed instruction: what it does to memory, and where."""

    def __init__(self, text, values):
        words = text.split("#")[0].split("<")[0].split()
        self.is_locked = "lock" in words[:2]
        while len(words) > 1 and words[0] in PREFIXES:
            words.pop(0)
        self.name = words[0]
        self.operands = re.split(r",(?![^(]*\))", "".join(words[1:])) if words[1:] else []
        self.values = values

    def is_conditional(self):
        return self.name.startswith("j") and not self.name.startswith("jmp")

    def memory_at(self):
        """Index of the memory operand, or None; jumps and address arithmetic have none."""
        if re.match(r"j|call|lea|nop|endbr", self.name):
            return None
        return next((i for i, o in enumerate(self.operands) if MEMORY.fullmatch(o)), None)

    def address(self, operand):
        """The effective address; None for rip-relative and segment-based operands."""
        match = MEMORY.fullmatch(operand)
        if match[1] or match[3] is None or "rip" in match[3]:
            return None
        base, index, scale = (match[3].replace("%", "").split(",") + ["", ""])[:3]
        value = lambda name: self.values[name] if name in self.values else 0
        return (int(match[2] or "0", 0) + value(base) + value(index) * int(scale or 1)) % 2**64

    def effects(self):
        """(loads, stores, addresses stored to)"""
        if self.name.startswith("push"):
            return (self.memory_at() is not None, 1, [self.values["rsp"] - 8])
        if self.name.startswith("pop") and self.name != "popcnt":
            return (1, 0, [])
        if self.name.startswith("stos"):
            return (0, 1, [self.values["rdi"]])
        at = self.memory_at()
        if at is None:
            return (0, 0, [])
        is_last = at == len(self.operands) - 1
        if not is_last or re.match(r"cmp(?!xchg)|test|bt[bwlq]?$|prefetch|mul|div|imul|idiv", self.name):
            is_exchange = self.name.startswith("xchg")
            return (0 if self.name.startswith("prefetch") else 1, int(is_exchange),
                    [self.address(self.operands[at])] if is_exchange else [])
        is_plain = re.match(r"(v?mov|set)", self.name) is not None
        return (0 if is_plain else 1, 1, [self.address(self.operands[at])])

    def is_atomic(self):
        return self.is_locked or (self.name.startswith("xchg") and self.memory_at() is not None)


class Case:
    def __init__(self, name, size, block):
        self.name, self.size, self.block_is = name, int(size), block
        self.steps, self.outside, self.result = [], 0, 0

    def measure(self, code):
        """Counts; the instructions themselves are kept for the listing."""
        block = self.steps[0][1]["rdi"] if self.block_is == "argument" else self.result
        counts = dict.fromkeys(COUNTS, 0)
        counts["outside"] = self.outside
        for offset, values in self.steps:
            if offset not in code:
                sys.exit(f"fast_path: {self.name}: no instruction at {offset:#x}")
            i = Instruction(code[offset], values)
            if i.name == "endbr64":
                continue
            loads, stores, addresses = i.effects()
            counts["instructions"] += 1
            counts["branches"] += i.is_conditional()
            counts["loads"] += loads
            counts["stores"] += stores
            counts["atomics"] += i.is_atomic()
            counts["block stores"] += sum(
                1 for a in addresses if a is not None and 0 <= a - block < self.size)
        return counts

    def listing(self, code, slots, sizes):
        """The path without addresses: a jump goes to `on` (the next line) or `off` the path."""
        if len(self.steps) > LISTED_MAX:
            return []
        lines = []
        for at, (offset, _) in enumerate(self.steps):
            text = code[offset]
            if match := re.match(r"((?:\w+ )?j\w+) ([0-9a-f]+)", text):
                following = self.steps[at + 1][0] if at + 1 < len(self.steps) else None
                text = f"{match[1]} {'on' if int(match[2], 16) == following else 'off'}"
            elif match := re.match(r"(.*?)-?0x[0-9a-f]+\(%rip\)(.*?) # ([0-9a-f]+)(?: <([^>]*)>)?", text):
                name = slots.get(int(match[3], 16)) or self.variable(match[4] or "", sizes)
                text = f"{match[1]}{name}(%rip){match[2]}"
            elif match := re.match(r"(call) [0-9a-f]+ <([^>+]*)", text):
                text = f"{match[1]} {match[2]}"
            lines.append(f"    {text}")
        return lines

    @staticmethod
    def variable(text, sizes):
        """objdump names the nearest symbol below; beyond that symbol's end lie constants."""
        name, _, offset = text.split("@")[0].partition("+")
        return text if int(offset or "0", 16) < sizes.get(name, 0) else "constant"


def step(build, library, names=()):
    """Runs step_path; {name: Case}. Its output names the library that it stepped through."""
    program = Path(build, "test", "golden", "step_path")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HAKMEM_", "LD_"))}
    if library:
        environment["LD_PRELOAD"] = str(library)
    cases, path, case = {}, None, None
    for line in run(program, *names, env=environment).splitlines():
        words = line.split()
        if words[0] == "library":
            path = Path(words[1]).resolve()
        elif words[0] == "case":
            case = cases[words[1]] = Case(words[1], words[3], words[5])
        elif words[0] == "outside":
            case.outside += 1
        elif words[0] == "end":
            case.result = int(words[1], 16)
        else:
            values = [int(w, 16) for w in words]
            case.steps.append((values[0], dict(zip(REGISTERS, values[1:]))))
    if library and path != library:
        sys.exit(f"fast_path: malloc comes from {path}, not from {library}")
    return cases, path


def over_limits(cases, code):
    for name, (instructions, branches) in LIMITS.items():
        if name not in cases:
            continue
        counts = cases[name].measure(code)
        if counts["instructions"] > instructions or counts["branches"] > branches:
            yield (f"{name}: {counts['instructions']} instructions, {counts['branches']} branches; "
                   f"limit {instructions}/{branches}")
        if counts["outside"] or counts["atomics"]:
            yield f"{name}: leaves the library or uses an atomic"
    for name, case in cases.items():
        if name.startswith(("free", "delete")) and case.measure(code)["block stores"]:
            yield f"{name}: stores to the block"


def describe(cases, code, slots, sizes, compiler):
    lines = ["# Executed instructions of a magazine hit, release build; by tools/fast_path.py --update.",
             "# In the listings a jump is taken `on` the path, or would lead `off` it.",
             f"# compiler: {compiler}"]
    for case in cases.values():
        counts = case.measure(code)
        lines += ["", f"{case.name}: " + ", ".join(f"{counts[c]} {c}" for c in COUNTS)]
        lines += case.listing(code, slots, sizes)
    return "\n".join(lines) + "\n"


def self_test(build):
    """glibc is known to break our limits and to store into freed blocks: both must be seen."""
    cases, path = step(build, None, ("malloc_64", "malloc_2000", "free_64", "free_2000"))
    breaches = list(over_limits(cases, disassemble(path)[0]))
    for wanted in ("malloc_64: ", "free_64: stores to the block"):
        if not any(b.startswith(wanted) for b in breaches):
            sys.exit(f"fast_path: self-test: not seen in {path}: {wanted}; seen: {breaches}")
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
    parser.add_argument("--check", type=Path, metavar="FILE")
    parser.add_argument("--update", type=Path, metavar="FILE")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test(arguments.build)
    library = Path(arguments.build, "libhakmem.so.1").resolve(strict=True)
    code, slots, sizes = disassemble(library)
    cases, _ = step(arguments.build, library)
    compiler = compiler_of(library)
    text = describe(cases, code, slots, sizes, compiler)
    problems = list(over_limits(cases, code))
    if arguments.update:
        arguments.update.write_text(text)
    elif arguments.check:
        problems += check(arguments.check, text, compiler)
    print("\n".join(line for line in text.splitlines() if line.endswith("outside")))
    if problems:
        sys.exit("\n".join(["fast_path: not as it should be:"] + problems))
    return 0


sys.exit(main())
