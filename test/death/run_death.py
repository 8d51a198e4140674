#!/usr/bin/env python3
# test/death/run_death.py — exact signal and message of each misuse. SPDX-License-Identifier: MIT
"""Runs `misuse CASE` for every case, in the default mode and with HAKMEM_CHECKS=1.

usage: HAKTEST_LIB=libhakmem.so.1 run_death.py MISUSE [ANSWERS] [--canary] [--observed] [--case CASE]...

A misuse that is promised to be found must end the process by SIGABRT with exactly one line on
stderr, which names the function, the very pointer the program announced, what is wrong, the class
(the block's size in bytes, large, big or none) and the owner. What is found only by luck is not
asserted: a test must not demand more than the design promises. --canary: the library is a build
with tail canaries, whose blocks are 8 bytes larger than their usable size.
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
    canary_only: bool = False
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
    return Expect(function, (SIZE,), kind, SURVIVES)


# A block beside the one in question: in a magazine, never handed out, or in use by nobody.
BESIDE = (INSIDE, TWICE, FOREIGN)

EXPECTED = {
    "first_call_free_stack": foreign(),
    "first_call_realloc_wild": foreign("realloc"),
    "first_call_usable_wild": foreign("malloc_usable_size"),
    **{"free_" + name: foreign() for name in (
        "stack", "static", "thread_local", "literal", "code", "environment", "mmap",
        "mmap_unit_aligned", "unmapped", "libc_block", "library_code", "one", "null_page",
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
    "tiny_cfree_twice": small("free", TWICE),
    # Found when a later free flushes: the message then names that free.
    "tiny_delete_twice": small("delete|free", TWICE),
    "tiny_free_sized_twice": small("free_sized|free", TWICE),
    "tiny_sdallocx_twice": small("sdallocx|free", TWICE),
    "tiny_realloc_zero_twice": small("realloc|free", TWICE),
    "tiny_realloc_freed": small("realloc", TWICE, default=OPEN),
    "tiny_realloc_smaller_freed": small("realloc", TWICE, default=OPEN),
    "tiny_usable_freed": small("malloc_usable_size", TWICE, default=OPEN, checks=OPEN),
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
    "tiny_usable_inside": small("malloc_usable_size", INSIDE, default=OPEN, checks=OPEN),
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

    "canary_tiny": Expect("free", (CANARY,), "small", AT_ONCE, canary_only=True),
    "canary_mid": Expect("free", (CANARY,), "small", AT_ONCE, canary_only=True),
    "canary_large": Expect("free", (CANARY,), "large", AT_ONCE, canary_only=True),
    "canary_realloc": Expect("realloc", (CANARY,), "small", AT_ONCE, canary_only=True),
}


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


def run_case(program, name, checks, heaps, canary):
    """One line about one case in one mode; None when nothing is promised there."""
    expect = EXPECTED[name]
    when = expect.checks if checks else expect.default
    if when == OPEN or (expect.canary_only and not canary):
        return None
    title = f"{name}, {'checks' if checks else 'default'}: {when}"
    try:
        result = run_process([program, name], checks)
        if when == SURVIVES:
            check_survival(result)
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
    parser.add_argument("program", help="the program misuse")
    parser.add_argument("answers", nargs="?", help="the program answers")
    parser.add_argument("--case", action="append", help="only this case (may be repeated)")
    parser.add_argument("--canary", action="store_true", help="the library is a canary build")
    parser.add_argument("--observed", action="store_true", help="closed fast paths find the same")
    options = parser.parse_args()
    if options.observed:
        global observed_in
        scratch = tempfile.TemporaryDirectory(prefix="hakmem-death-")
        observed_in = scratch.name
    if "HAKTEST_LIB" not in os.environ:
        parser.error("HAKTEST_LIB names the library")
    listed = subprocess.run([options.program, "--list"], capture_output=True, text=True,
                            check=True).stdout.split()
    outcomes = [(set(listed) == set(EXPECTED),
                 f"every case has its expectation ({set(listed) ^ set(EXPECTED) or 'all'})")]
    heaps = {}
    for checks in (False, True):
        for name in options.case or [name for name in listed if name in EXPECTED]:
            outcomes.append(run_case(options.program, name, checks, heaps, options.canary))
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
