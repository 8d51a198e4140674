#!/usr/bin/env python3
# test/death/run_death.py — exact signal and message of each misuse. SPDX-License-Identifier: MIT
"""Runs `PROGRAM CASE` for every case of each, in the default mode and with HAKMEM_CHECKS=1.

usage: HAKTEST_LIB=libhakmem.so.1 run_death.py [--canary] [--observed] [--case CASE]...
           [--answers ANSWERS] PROGRAM...
       run_death.py --table [DOCUMENT]      the table of docs/misuse.md, or whether DOCUMENT has it

A misuse that is promised to be found must end the process by SIGABRT with exactly one line on
stderr, which names the function, the very pointer the program announced, what is wrong, the class
(the block's size in bytes, large, big or none) and the owner. What is found only by luck is not
asserted: a test must not demand more than the design promises. What is not found is asserted to be so:
the process goes on and nothing is said. --canary: the library is a build with tail canaries, whose blocks
are 8 bytes larger than their usable size.
"""
import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass

MESSAGE = re.compile(
    r"^hakmem: fatal: (free|realloc|malloc_usable_size|free_sized|free_aligned_sized|sdallocx|"
    r"delete)\((0x[0-9a-f]+)\): (not a block of this allocator|inside a block, not its start|"
    r"double free|wrong size|canary overwritten); class ([0-9]+|large|big|none), "
    r"owner (heap ([0-9]+)|none)\n$")
TIMEOUT_S = 60
CANARY_BYTES = 8

AT_ONCE = "at once"      # by the wrong call itself
BY_FLUSH = "by flush"    # at the latest when the class's blocks have gone through the magazine
SURVIVES = "survives"    # no misuse, or one that is tolerated: exit status 0 and nothing printed
UNNOTICED = "not found"  # the same, and it is a misuse
FAULTS = "faults"        # the processor notices: SIGSEGV, and nothing printed
OPEN = "open"            # no promise: not asserted

FOREIGN = "not a block of this allocator"
INSIDE = "inside a block, not its start"
TWICE = "double free"
SIZE = "wrong size"
CANARY = "canary overwritten"


@dataclass(frozen=True)
class Expect:
    """What the library must do. `kind`: foreign, small, large, big or any (class and owner)."""
    function: str
    reasons: tuple
    kind: str
    default: str
    checks: str = AT_ONCE
    canary: str = None    # in canary builds, whatever the mode; None: the same as in others
    silent: bool = False  # stderr is closed: only the signal can be seen
    owner: str = "main"   # for small blocks: whose heap


def foreign(function="free"):
    return Expect(function, (FOREIGN,), "foreign", AT_ONCE)


def large(function, *reasons):
    return Expect(function, reasons, "large", AT_ONCE)


def big(function, *reasons):
    # A Big block's mapping may be gone, and with it all knowledge of the block.
    return Expect(function, reasons + (FOREIGN,), "big or gone", AT_ONCE)


def small(function, reason, default=BY_FLUSH, **more):
    return Expect(function, (reason,), "small", default, **more)


def size(function, kind="small"):
    return Expect(function, (SIZE,), kind, UNNOTICED)


def canary(function="free", kind="small"):
    """Only canary builds notice."""
    return Expect(function, (CANARY,), kind, UNNOTICED, UNNOTICED, canary=AT_ONCE)


def unnoticed(outcome=UNNOTICED):
    return Expect("", (), "any", outcome, outcome)


# A block beside the one in question: in a magazine, never handed out, or in use by nobody.
BESIDE = (INSIDE, TWICE, FOREIGN)

EXPECTED = {
    "first_call_free_stack": foreign(),
    "first_call_realloc_wild": foreign("realloc"),
    "first_call_usable_wild": foreign("malloc_usable_size"),
    **{"free_" + name: foreign() for name in (
        "stack", "static", "thread_local", "literal", "code", "environment", "mmap",
        "mmap_unit_aligned", "mmap_no_access", "far", "very_far", "unmapped", "libc_block", "library_code", "one", "null_page",
        "noncanonical", "first_noncanonical", "last_user_page", "kernel_half", "all_ones",
        "all_ones_aligned", "ascii")},
    "cfree_stack": foreign(),
    "libc_free_stack": foreign(),
    "realloc_stack": foreign("realloc"),
    "realloc_mmap": foreign("realloc"),
    "realloc_unmapped": foreign("realloc"),
    "realloc_noncanonical": foreign("realloc"),
    "realloc_zero_static": foreign("realloc"),
    "reallocarray_stack": foreign("realloc"),
    "usable_stack": foreign("malloc_usable_size"),
    "usable_unmapped": foreign("malloc_usable_size"),
    "usable_all_ones": foreign("malloc_usable_size"),
    "free_sized_stack": foreign("free_sized"),
    "free_aligned_sized_mmap": foreign("free_aligned_sized"),
    "sdallocx_static": foreign("sdallocx"),
    "delete_stack": foreign("delete|free"),
    "delete_array_static": foreign("delete|free"),

    "large_twice": large("free", TWICE),
    "large_1m_twice": large("free", TWICE),
    "large_63m_twice": large("free", TWICE),
    "large_twice_by_other": large("free", TWICE),
    "large_other_twice": large("free", TWICE),
    # Its neighbour and it may have become one free span, or other blocks' memory.
    "large_twice_merged": Expect("free", (TWICE, FOREIGN, INSIDE), "any", AT_ONCE),
    "large_realloc_freed": large("realloc", TWICE),
    "large_usable_freed": large("malloc_usable_size", TWICE),
    "large_free_sized_freed": large("free_sized", TWICE),
    "large_delete_freed": large("delete|free", TWICE),
    "large_delete_nothrow_freed": large("delete|free", TWICE),
    "large_inside_1": large("free", INSIDE),
    "large_inside_16": large("free", INSIDE),
    "large_inside_4096": large("free", INSIDE),
    "large_inside_unit": large("free", INSIDE),
    "large_inside_last": large("free", INSIDE),
    "large_one_past": Expect("free", BESIDE, "any", AT_ONCE),
    "large_realloc_inside": large("realloc", INSIDE),
    "large_realloc_inside_unit": large("realloc", INSIDE),
    "large_usable_inside": large("malloc_usable_size", INSIDE),
    "large_delete_inside": large("delete|free", INSIDE),
    "big_twice": big("free", TWICE),
    "big_twice_by_other": big("free", TWICE),
    "big_realloc_freed": big("realloc", TWICE),
    "big_usable_freed": big("malloc_usable_size", TWICE),
    "big_inside_16": big("free", INSIDE),
    "big_inside_middle": big("free", INSIDE),
    "big_before": big("free", INSIDE),
    "big_realloc_inside": big("realloc", INSIDE),

    "tiny_twice": small("free", TWICE),
    "tiny_16_twice": small("free", TWICE),
    "tiny_1000_twice": small("free", TWICE),
    "mid_2000_twice": small("free", TWICE),
    "mid_20000_twice": small("free", TWICE),
    "mid_65500_twice": small("free", TWICE),
    "zero_size_twice": small("free", TWICE),
    "tiny_interleaved": small("free", TWICE),
    "tiny_delayed": small("free", TWICE),
    "mid_delayed": Expect("free", (TWICE,), "any", BY_FLUSH),  # its slab may be gone meanwhile
    "large_interleaved": large("free", TWICE),
    "large_delayed": large("free", TWICE),
    "tiny_before": Expect("delete|free", BESIDE, "any", BY_FLUSH),
    "tiny_cfree_twice": small("free", TWICE),
    # Found when a later free flushes: the message then names that free.
    "tiny_delete_twice": small("delete|free", TWICE),
    "tiny_free_sized_twice": small("free_sized|free", TWICE),
    "tiny_sdallocx_twice": small("sdallocx|free", TWICE),
    "tiny_realloc_zero_twice": small("realloc|free", TWICE),
    "tiny_realloc_freed": small("realloc", TWICE, default=OPEN),
    "tiny_realloc_smaller_freed": small("realloc", TWICE, default=OPEN),
    "tiny_usable_freed": unnoticed(),
    "tiny_inside_1": small("free", INSIDE),
    "tiny_inside_8": small("free", INSIDE),
    "tiny_inside_16": small("free", INSIDE),
    "tiny_inside_last": small("free", INSIDE),
    "mid_inside_16": small("free", INSIDE),
    "mid_inside_4096": small("free", INSIDE),
    "tiny_realloc_inside": small("realloc", INSIDE, default=AT_ONCE),
    "mid_realloc_inside": small("realloc", INSIDE, default=AT_ONCE),
    "tiny_realloc_same_freed": small("realloc", TWICE, default=OPEN),
    "tiny_realloc_same_inside_1": small("realloc", INSIDE, default=AT_ONCE),
    "tiny_realloc_same_inside": small("realloc", INSIDE, default=AT_ONCE),
    "tiny_realloc_same_last": small("realloc", INSIDE, default=AT_ONCE),
    "mid_realloc_same_inside": small("realloc", INSIDE, default=AT_ONCE),
    "mid_realloc_same_inside_2": small("realloc", INSIDE, default=AT_ONCE),
    "tiny_usable_inside": unnoticed(),
    "tiny_delete_inside": small("delete|free", INSIDE),
    "tiny_twice_by_other": small("free", TWICE),
    "mid_twice_by_other": small("free", TWICE),
    "tiny_other_twice": small("free", TWICE),
    "mid_other_twice": small("free", TWICE),
    "tiny_two_others_twice": small("free", TWICE),
    "mid_two_others_twice": small("free", TWICE),
    "tiny_inside_by_other": small("free", INSIDE),
    "tiny_misaligned_by_other": small("free", INSIDE),
    "mid_inside_by_other": small("free", INSIDE),
    "thread_owns_twice": small("free", TWICE, default=OPEN, owner="thread"),
    "thread_owns_inside": small("free", INSIDE, default=OPEN, owner="thread"),
    "beside_aligned_before": Expect("free", BESIDE, "any", BY_FLUSH),
    "beside_aligned_behind": Expect("free", (INSIDE,), "any", BY_FLUSH),

    "size_free_sized_small": size("free_sized"),
    "size_free_sized_large": size("free_sized"),
    "size_free_sized_zero": size("free_sized"),
    "size_free_aligned_sized": size("free_aligned_sized"),
    "size_sdallocx": size("sdallocx"),
    "size_delete": size("delete"),
    "size_delete_array": size("delete"),
    "size_delete_aligned": size("delete"),
    "size_large_block_small": size("free_sized", "large"),
    "size_small_block_large": size("sdallocx"),
    "size_big_block_small": size("delete", "big"),
    **{name: Expect("", (), "any", SURVIVES, SURVIVES) for name in (
        "size_right", "size_right_large", "size_right_delete", "size_right_aligned",
        "size_right_resized_tiny", "size_right_resized_mid", "size_right_resized_large",
        "size_right_resized_big",
        "size_right_aligned_large", "size_right_aligned_zero", "size_right_aligned_big")},

    "fork_child_large_twice": large("free", TWICE),
    "thread_exit_large_twice": large("free", TWICE),
    "atexit_large_twice": large("free", TWICE),
    "sigabrt_ignored": large("free", TWICE),
    "sigabrt_blocked": large("free", TWICE),
    "stderr_closed": Expect("", (), "any", AT_ONCE, silent=True),

    "canary_tiny": canary(),
    "canary_mid": canary(),
    "canary_large": canary(kind="large"),
    "canary_realloc": canary("realloc"),

    **{name: canary() for name in (
        "overflow_1_tiny", "overflow_8_tiny", "overflow_32_tiny", "overflow_1_mid",
        "overflow_1000_mid", "overflow_string", "underflow_1_tiny", "underflow_32_tiny",
        "underflow_1_mid")},
    **{name: canary(kind="large") for name in (
        "overflow_1_large", "overflow_8_large", "overflow_1_mb", "overflow_32_mb")},
    "overflow_big": unnoticed(FAULTS),
    "underflow_1_large": unnoticed(),
    "underflow_32_mb": unnoticed(),
    **{name: unnoticed() for name in (
        "read_freed_tiny", "read_freed_large", "read_freed_big", "write_freed_tiny",
        "write_freed_mid", "write_freed_large", "write_reused_tiny", "write_reused_large",
        "write_trimmed_tiny", "write_trimmed_large", "write_moved", "read_shrunk",
        "read_unwritten_tiny", "read_unwritten_large", "contents_stay_tiny",
        "contents_stay_large", "zero_size", "zero_size_freed", "twice_reused_tiny",
        "mixed_malloc_delete", "mixed_new_free", "mixed_new_delete_array",
        "mixed_new_array_delete", "alignment_wrong")},
    "write_trimmed_big": unnoticed(FAULTS),
    # It lies in the new block, but is not where that one begins.
    "twice_reused_large": large("free", INSIDE),
    "execute_block": unnoticed(FAULTS),
}


# ---- against the lists of others ----

# The programs of hardened_malloc's tests (H) and of mimalloc-bench's security benchmark (M), by what they
# do, and what here does the same: cases, or a test in words.
CATEGORIES = (
    ("double free, small", "H double_free_small, M double_free", ("tiny_twice", "mid_2000_twice")),
    ("double free, large", "H double_free_large", ("large_twice", "large_1m_twice", "big_twice")),
    ("double free, others between", "H double_free_small_delayed, M double_free_delayed, _interleaved",
     ("tiny_interleaved", "tiny_delayed", "mid_delayed")),
    ("the same, large", "H double_free_large_delayed", ("large_interleaved", "large_delayed")),
    ("double free by another thread", "—", ("tiny_twice_by_other", "tiny_two_others_twice",
                                            "mid_twice_by_other", "large_twice_by_other")),
    ("double free, handed out between", "M double_free_reuse, double_free_single_reuse",
     ("twice_reused_tiny",)),
    ("the same, large", "—", ("twice_reused_large",)),
    ("free of no block: wild, uninitialized", "H uninitialized_free, invalid_free_unprotected, M invalid_free",
     ("free_ascii", "free_unmapped", "free_noncanonical", "free_all_ones")),
    ("of mapped memory", "H invalid_free_protected", ("free_mmap", "free_mmap_no_access")),
    ("of the stack, of static memory", "M invalid_free_stack, invalid_free_alloca",
     ("free_stack", "free_static", "free_thread_local")),
    ("of a place far from any block", "H invalid_free_small_region_far, M invalid_free_far",
     ("free_far", "free_very_far")),
    ("of a place close to a block", "H invalid_free_small_region, M invalid_free_close",
     ("beside_aligned_before", "beside_aligned_behind", "tiny_before")),
    ("unaligned free, small", "H unaligned_free_small, offset, M invalid_free_unaligned, _multiple",
     ("tiny_inside_1", "tiny_inside_8", "tiny_inside_16", "mid_inside_16")),
    ("unaligned free, large", "H unaligned_free_large", ("large_inside_1", "large_inside_16",
                                                         "big_inside_16")),
    ("realloc of no block", "H uninitialized_realloc", ("realloc_unmapped", "realloc_stack")),
    ("usable size of no block", "H uninitialized_malloc_usable_size",
     ("usable_stack", "usable_unmapped")),
    ("usable size inside a block, of a freed one",
     "H unaligned_malloc_usable_size_small, invalid_malloc_usable_size_small, _quarantine",
     ("tiny_usable_inside", "tiny_usable_freed")),
    ("sized free, wrong size", "H free_sized_small, free_sized_large, delete_type_size_mismatch, "
     "M delete_type_size_mismatch", ("size_free_sized_small", "size_large_block_small", "size_delete")),
    ("aligned sized delete, wrong size", "H invalid_aligned_sized_delete_small, _large",
     ("size_delete_aligned", "size_free_aligned_sized")),
    ("the same, right size", "H aligned_sized_delete_small, _large, _small_min_align",
     ("size_right_aligned", "size_right_aligned_large")),
    ("wrong alignment", "—", ("alignment_wrong",)),
    ("delete for delete[] and the reverse, one object", "M invalid_array_delete_char, "
     "invalid_delete_array_char", ("mixed_new_delete_array", "mixed_new_array_delete")),
    ("the same, objects with destructors: off by the count before them",
     "M invalid_array_delete_string, invalid_delete_array_string",
     ("tiny_delete_inside", "tiny_before")),
    ("malloc with delete, new with free", "—", ("mixed_malloc_delete", "mixed_new_free")),
    ("overflow, small", "H overflow_small_1_byte, _8_byte, string_overflow, "
     "M one_byte_overflow, 32_byte_overflow, memcpy_…",
     ("overflow_1_tiny", "overflow_8_tiny", "overflow_32_tiny", "overflow_1_mid",
      "overflow_1000_mid", "overflow_string")),
    ("overflow, large", "H overflow_large_1_byte, _8_byte, M one_mbyte_overflow, memcpy_…",
     ("overflow_1_large", "overflow_8_large", "overflow_1_mb", "overflow_32_mb")),
    ("overflow, above 64 MiB", "—", ("overflow_big",)),
    ("underflow", "M one_byte_underflow, 32_byte_underflow, one_mbyte_underflow, memcpy_…",
     ("underflow_1_tiny", "underflow_32_tiny", "underflow_1_mid", "underflow_1_large",
      "underflow_32_mb")),
    ("read after free", "H read_after_free_small, _large", ("read_freed_tiny", "read_freed_large",
                                                            "read_freed_big")),
    ("write after free", "H write_after_free_small, _large, M write_after_free",
     ("write_freed_tiny", "write_freed_mid", "write_freed_large")),
    ("the same, handed out between", "H {read,write}_after_free_small_reuse, _large_reuse, "
     "M write_after_free_reuse", ("write_reused_tiny", "write_reused_large")),
    ("after malloc_trim", "—", ("write_trimmed_tiny", "write_trimmed_large")),
    ("the same, above 64 MiB", "—", ("write_trimmed_big",)),
    ("use after realloc", "M realloc_reuse, malloc_reuse_downsize", ("write_moved", "read_shrunk")),
    ("freed memory is handed out again at once", "H malloc_noreuse, M malloc_reuse",
     ("twice_reused_tiny",)),
    ("memory is cleared by free, by malloc", "H uninitialized_read_small, _large, realloc_init, "
     "malloc_zero_different, M zero_after_free, zero_on_malloc",
     ("contents_stay_tiny", "contents_stay_large", "read_unwritten_tiny", "read_unwritten_large")),
    ("a block of 0 bytes, read or written", "H {read,write}_zero_size, M {read,write}_zero_size, _free",
     ("zero_size", "zero_size_freed")),
    ("a block of 0 bytes, freed twice", "—", ("zero_size_twice",)),
    ("executable memory", "M executable_heap", ("execute_block",)),
    ("sizes that cannot be", "H impossibly_large_malloc, calloc_overflow, M impossibly_large_malloc",
     "NULL and `ENOMEM` (death/answers.c)"),
    ("calloc clears", "H calloc_zeroed", "it does (promise/calloc_zero.c)"),
    ("growth by realloc, totals", "H large_array_growth, mallinfo, mallinfo2, malloc_info",
     "as promised (promise/realloc_prefix.c, introspection.c)"),
    ("object size", "H malloc_object_size, _offset, _zero, invalid_malloc_object_size_small, "
     "_quarantine", "there is no such function; `malloc_usable_size` above"),
)

WORDS = {AT_ONCE: "at once", BY_FLUSH: "at the flush", SURVIVES: "no misuse",
         UNNOTICED: "**not found**", FAULTS: "`SIGSEGV`", OPEN: "no promise"}


def outcome_words(cases, checks):
    words = []
    for name in cases:
        word = WORDS[EXPECTED[name].checks if checks else EXPECTED[name].default]
        if word not in words:
            words.append(word)
    return ", ".join(words)


def table_lines():
    yield "| misuse | theirs | our cases | default | `checks=1` |"
    yield "|---|---|---|---|---|"
    for what, theirs, cases in CATEGORIES:
        if isinstance(cases, str):
            yield f"| {what} | {theirs} | | {cases} | the same |"
            continue
        default, checks = outcome_words(cases, False), outcome_words(cases, True)
        yield (f"| {what} | {theirs} | {', '.join(f'`{name}`' for name in cases)} | {default} | "
               f"{'the same' if checks == default else checks} |")


def check_table(document):
    """The table itself; with a document, whether it has just that."""
    table = "\n".join(table_lines()) + "\n"
    if not document:
        print(table, end="")
        return 0
    with open(document, encoding="utf-8") as file:
        good = table in file.read()
    print(("ok" if good else "not ok") + f" - {document} has the table of run_death.py --table")
    print(f"{int(good)} passed, {int(not good)} failed")
    return 0 if good else 1


observed_in = None  # the directory in which processes count


class Wrong(Exception):
    """Why a case failed."""


def run_process(arguments, checks):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HAKMEM_")}
    environment["LD_PRELOAD"] = os.environ["HAKTEST_LIB"]
    if checks:
        environment["HAKMEM_CHECKS"] = "1"
    if observed_in:
        environment["HAKMEM_STAT"] = observed_in
    return subprocess.run(arguments, env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=TIMEOUT_S, check=False,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))


def check_class(expect, message, usable, extra):
    found = message[4]
    small_size = found.isdigit() and int(found) == usable + extra
    allowed = {"foreign": found == "none", "large": found == "large", "big": found == "big",
               "big or gone": found in ("big", "none"), "small": small_size, "any": True}
    if not allowed[expect.kind]:
        raise Wrong(f"class {found}, usable size {usable}")


def check_owner(expect, message, heaps):
    """Every small block of the main thread has one owner; another thread's has another."""
    if expect.kind == "foreign" and message[5] != "none":
        raise Wrong(f"a foreign pointer with owner {message[5]}")
    if expect.kind == "small":
        if message[6] is None:
            raise Wrong("a small block without an owner")
        heaps.setdefault(expect.owner, message[6])
        other = heaps.get("thread" if expect.owner == "main" else "main")
        if heaps[expect.owner] != message[6] or message[6] == other:
            raise Wrong(f"owner heap {message[6]}, heaps so far {heaps}")


def check_death(expect, when, result, heaps, extra):
    stdout = result.stdout.decode(errors="replace")
    stderr = result.stderr.decode(errors="replace")
    about = re.match(r"about (0x[0-9a-f]+) ([0-9]+)\n", stdout)
    if not about:
        raise Wrong(f"the program did not get to its misuse: {stdout!r} {stderr!r}")
    if result.returncode != -signal.SIGABRT:
        raise Wrong(f"status {result.returncode}, {stdout!r} {stderr!r}")
    if when == AT_ONCE and "returned" in stdout:
        raise Wrong("found too late: the wrong call returned")
    if expect.silent:
        return
    message = MESSAGE.match(stderr)
    if not message:
        raise Wrong(f"message {stderr!r}")
    if not re.fullmatch(expect.function, message[1]):
        raise Wrong(f"function {message[1]}, expected {expect.function}")
    if message[2] != about[1]:
        raise Wrong(f"pointer {message[2]}, expected {about[1]}")
    if message[3] not in expect.reasons:
        raise Wrong(f"reason {message[3]!r}, expected {' or '.join(expect.reasons)}")
    check_class(expect, message, int(about[2]), extra)
    check_owner(expect, message, heaps)


def check_survival(result):
    if result.returncode != 0 or result.stderr or not result.stdout.endswith(b"survived\n"):
        raise Wrong(f"status {result.returncode}, {result.stdout!r} {result.stderr!r}")


def check_fault(result):
    if result.returncode != -signal.SIGSEGV or result.stderr or b"returned" in result.stdout:
        raise Wrong(f"status {result.returncode}, {result.stdout!r} {result.stderr!r}")


def run_case(program, name, checks, heaps, canary):
    """One line about one case in one mode; None when nothing is promised there."""
    expect = EXPECTED[name]
    when = expect.canary if canary and expect.canary else expect.checks if checks else expect.default
    if when == OPEN:
        return None
    title = f"{name}, {'checks' if checks else 'default'}: {when}"
    try:
        result = run_process([program, name], checks)
        if when in (SURVIVES, UNNOTICED):
            check_survival(result)
        elif when == FAULTS:
            check_fault(result)
        else:
            check_death(expect, when, result, heaps, CANARY_BYTES if canary else 0)
    except Wrong as wrong:
        return False, f"{title}: {wrong}"
    except subprocess.TimeoutExpired:
        return False, f"{title}: hangs"
    return True, title


def run_answers(program, checks):
    result = run_process([program], checks)
    lines = result.stdout.decode(errors="replace").splitlines()
    good = result.returncode == 0 and not result.stderr and lines
    text = "" if good else f": {[line for line in lines if not line.startswith('ok')]}"
    return good, f"wrong arguments are answered, {'checks' if checks else 'default'}{text}"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="misuse, access")
    parser.add_argument("--answers", help="the program answers")
    parser.add_argument("--case", action="append", help="only this case (may be repeated)")
    parser.add_argument("--canary", action="store_true", help="the library is a canary build")
    parser.add_argument("--observed", action="store_true", help="closed fast paths find the same")
    parser.add_argument("--table", nargs="?", const="", metavar="DOCUMENT")
    options = parser.parse_args()
    if options.table is not None:
        return check_table(options.table)
    if options.observed:
        global observed_in
        scratch = tempfile.TemporaryDirectory(prefix="hakmem-death-")
        observed_in = scratch.name
    if "HAKTEST_LIB" not in os.environ:
        parser.error("HAKTEST_LIB names the library")
    program_of = {}
    for program in options.programs:
        listed = subprocess.run([program, "--list"], capture_output=True, text=True,
                                check=True).stdout.split()
        program_of.update((name, program) for name in listed)
    outcomes = [(set(program_of) == set(EXPECTED),
                 f"every case has its expectation ({set(program_of) ^ set(EXPECTED) or 'all'})")]
    heaps = {}
    for checks in (False, True):
        for name in options.case or [name for name in program_of if name in EXPECTED]:
            outcomes.append(run_case(program_of[name], name, checks, heaps, options.canary))
        if options.answers and not options.case:
            outcomes.append(run_answers(options.answers, checks))
    outcomes = [outcome for outcome in outcomes if outcome is not None]
    for good, text in outcomes:
        print(("ok - " if good else "not ok - ") + text)
    failed = sum(not good for good, _ in outcomes)
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
