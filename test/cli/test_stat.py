#!/usr/bin/env python3
# test/cli/test_stat.py — `hakmem stat`: its counts are exact, and show what they must. SPDX-License-Identifier: MIT
"""usage: HAKTEST_CLI=… HAKTEST_LIB=… HAKTEST_BIN=… HAKTEST_MISROUTED=… [CC=cc] test_stat.py [NAME]...

Goal: every request and every system call of every process is counted once, however the process ends;
and whoever reads the first screen sees a fault such as the one hakmem was made after.
Method: stat_ops asks for known numbers; what libc asks for besides is the same for every number, so two runs
are compared. System calls are held against strace, by instruction pointer.
NAMEs select the tests whose name contains one of them.
"""
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "budget"))
import count_own_calls  # noqa: E402

from runner import Skip, run as run_tests

CLI = os.environ["HAKTEST_CLI"]
LIBRARY = os.environ["HAKTEST_LIB"]
BIN = Path(os.environ["HAKTEST_BIN"])
STRESS = BIN / "test" / "stress"
N = 1000
SCREEN = 30  # lines


class Place:
    """A directory of the test's own."""

    def __init__(self, directory):
        self.root = Path(directory)

    def stat(self, *command, options=(), status=0, env=None, **more):
        """Runs a command under `hakmem stat --json`; what was counted."""
        out = self.root / "out.json"
        done = run("--json", "-o", out, *options, "--", *command, env=env, **more)
        assert done.returncode == status, f"status {done.returncode}: {done.stderr}"
        self.stderr = done.stderr
        return json.loads(out.read_text())

    def ops(self, mode, count, **more):
        return self.stat(OPS, mode, count, **more)


def environment(changes=None):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HAKMEM_", "LD_"))}
    return {**kept, "LC_ALL": "C", "HAKMEM_LIBRARY": LIBRARY, **(changes or {})}


def run(*arguments, env=None, **options):
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "timeout": 120, **options}
    arguments = (x if isinstance(x, bytes) else str(x) for x in arguments)
    return subprocess.run([CLI, "stat", *arguments], env=environment(env), text=True,
                          stderr=subprocess.PIPE, errors="replace", check=False, **options)


def rows(counts):
    """{(size that a range ends with, tier): (count, bytes, given)}"""
    return {(row["request_max"], row["tier"]): (row["count"], row["bytes"], row["given"])
            for row in counts["requests"]}


def difference(many, none):
    """What `many` has more than `none`, range by range."""
    before = rows(none)
    return {key: tuple(a - b for a, b in zip(value, before.get(key, (0, 0, 0))))
            for key, value in rows(many).items()
            if value != before.get(key, (0, 0, 0))}


def entries(many, none):
    return {name: many["entry_points"][name] - none["entry_points"][name]
            for name in many["entry_points"]
            if many["entry_points"][name] != none["entry_points"][name]}


def calls(counts):
    total = Counter()
    for row in counts["system_calls"]:
        total[row["call"]] += row["count"]
    return total


def class_of(counts, size):
    """The end of the range that a size is in, and its usual tier."""
    row = min((row for row in counts["requests"] if row["request_max"] >= size),
              key=lambda row: row["request_max"])
    return row["request_max"]


def check_sums(report):
    """The total is the sum of the processes, and no process contradicts itself."""
    processes = report["processes"]
    for name in ("system_call_count", "request_count", "request_bytes", "given_bytes", "refills",
                 "flushes", "remote_frees", "failed_requests", "threads", "damaged_records"):
        assert report["total"][name] == sum(p[name] for p in processes), name
    assert calls(report["total"]) == sum((calls(p) for p in processes), Counter())
    for counts in (report["total"], *processes):
        assert counts["damaged_records"] == 0
        assert counts["system_call_count"] == sum(calls(counts).values())
        assert counts["request_count"] == sum(row["count"] for row in counts["requests"])
        for row in counts["requests"]:
            assert row["given"] >= row["bytes"], row
            assert row["bytes"] <= row["count"] * row["request_max"], row
            assert row["bytes"] >= row["count"] * row["request_min"], row
        for row in counts["system_calls"]:
            assert row["call"] and row["cause"] and row["count"] > 0, row


# --- requests -------------------------------------------------------------------------------------


def test_entry_points(p):
    none, many = p.ops("entries", 0), p.ops("entries", N)
    check_sums(many)
    assert len(many["processes"]) == 1 and many["unobserved_processes"] == 0
    seen = entries(many["total"], none["total"])
    assert seen == {"malloc": 3 * N, "calloc": N, "realloc": 4 * N, "reallocarray": N,
                    "aligned_alloc": N, "memalign": N, "posix_memalign": N, "valloc": N,
                    "pvalloc": N, "new": N, "free": 7 * N, "free_sized": N,
                    "free_aligned_sized": N, "sdallocx": N, "delete": N}, seen
    assert many["total"]["failed_requests"] - none["total"]["failed_requests"] == N
    got = difference(many["total"], none["total"])
    asked = Counter()
    for size in (40, 44, 3000, 150, 60, 70, 100, 50, 80, 4096, 4096, 500, 400000):
        asked[class_of(many["total"], size)] += size
    by_range = Counter()
    for (end, _), (_, size, _) in got.items():
        by_range[end] += size
    assert by_range == {end: N * size for end, size in asked.items()}, (by_range, asked)
    assert sum(count for count, _, _ in got.values()) == 13 * N, got


def test_tier_and_rounding(p):
    """Bytes given are those of the block, also where an alignment makes it a larger one."""
    none, many = p.ops("entries", 0), p.ops("entries", N)
    got = difference(many["total"], none["total"])
    elsewhere = [(end, tier) for end, tier in got if tier == "Mid" and end < 1024]
    assert len(elsewhere) == 1 and elsewhere[0][0] == class_of(many["total"], 50), got
    count, size, given = got[elsewhere[0]]
    assert (count, size) == (N, 50 * N) and given >= 4096 * N - 8 * N, (count, size, given)
    row = got[(class_of(many["total"], 500), "Tiny")]
    assert row[0] == N and 500 * N <= row[2] <= 520 * N, row
    large = [value for (_, tier), value in got.items() if tier == "Large"]
    assert len(large) == 1 and large[0][:2] == (N, 400000 * N), got


def test_threads(p):
    none, many = p.ops("threads", 0), p.ops("threads", N)
    check_sums(many)
    assert many["total"]["threads"] == 5, many["total"]["threads"]
    got = difference(many["total"], none["total"])
    a, b = class_of(many["total"], 100), class_of(many["total"], 200)
    assert got[(a, "Tiny")][:2] == (4 * N, 400 * N), got
    assert got[(b, "Tiny")][:2] == (4 * N, 800 * N), got
    assert many["total"]["remote_frees"] - none["total"]["remote_frees"] == 4 * N
    seen = entries(many["total"], none["total"])
    assert seen["malloc"] == 8 * N and seen["free"] == 8 * N, seen


def test_crowd(p):
    """More threads at a time than the first part of the file has room for."""
    none, many = p.ops("crowd", 1), p.ops("crowd", 301)
    check_sums(many)
    got = difference(many["total"], none["total"])
    count, size, _ = got[(class_of(many["total"], 100), "Tiny")]
    assert (count, size) == (300, 30000), got
    assert many["total"]["threads"] == 302


def test_magazines(p):
    """All of a magazine's size, one at a time: one refill serves them."""
    none, many = p.ops("malloc", 0), p.ops("malloc", N)
    assert many["total"]["refills"] - none["total"]["refills"] <= 1
    assert many["total"]["flushes"] == none["total"]["flushes"]


# --- ends and births of processes -----------------------------------------------------------------


def expect_requests(report, none, process, expected):
    """In one process of each report: {size: count} more."""
    got = difference(report["processes"][process], none["processes"][process])
    want = {(class_of(report["total"], size), "Tiny"): (count, size * count)
            for size, count in expected.items()}
    assert {key: value[:2] for key, value in got.items()} == want, (got, want)


def test_every_end(p):
    for mode, status in (("malloc", 0), ("_exit", 0), ("kill", -signal.SIGKILL),
                         ("abort", -signal.SIGABRT)):
        none, many = (p.ops(mode, n, status=status) for n in (0, N))
        expect_requests(many, none, 0, {100: N})
        process = many["processes"][0]
        assert (process["end_ns"] is None) == (mode != "malloc"), mode
        assert (process["peak_rss_bytes"] is None) == (mode != "malloc"), mode
        assert many["signal"] == (-status if status else None), mode
        assert not process["is_running"] and not process["is_forked"]


def test_exec(p):
    none, many = p.ops("exec", 0), p.ops("exec", N)
    check_sums(many)
    first, second = many["processes"]
    assert first["process_id"] == second["process_id"] and first["end_ns"] is None
    expect_requests(many, none, 0, {100: N})
    expect_requests(many, none, 1, {100: N})


def test_fork(p):
    none, many = p.ops("fork", 0), p.ops("fork", N)
    check_sums(many)
    parent, child, grandchild = many["processes"]
    assert [x["is_forked"] for x in many["processes"]] == [False, True, True]
    assert child["parent_id"] == parent["process_id"]
    assert grandchild["parent_id"] == child["process_id"]
    assert len({x["process_id"] for x in many["processes"]}) == 3
    expect_requests(many, none, 0, {100: 2 * N})
    expect_requests(many, none, 1, {200: N})
    expect_requests(many, none, 2, {400: N})


def test_fork_in_thread(p):
    """The child's only thread had counters of its own, and gets others; so does a thread it starts."""
    none, many = p.ops("fork_in_thread", 0), p.ops("fork_in_thread", N)
    check_sums(many)
    expect_requests(many, none, 0, {100: 4 * N})
    expect_requests(many, none, 1, {200: 3 * N})
    assert [x["threads"] for x in many["processes"]] == [2, 2]


def test_spawn(p):
    """vfork's child shares its parent's memory until it executes; nothing is lost or counted twice."""
    none, many = p.ops("spawn", 0), p.ops("spawn", N)
    assert len(many["processes"]) == 2
    expect_requests(many, none, 0, {100: N})
    expect_requests(many, none, 1, {100: N})


def test_still_running(p):
    many = p.ops("daemon", N)
    assert [x["is_running"] for x in many["processes"]] == [False, True]


def test_many_processes(p):
    """Files of processes that have ended are taken in while the command runs, and none is lost."""
    script = (f'i=0; while [ $i -lt 60 ]; do {OPS} malloc 10; sleep 0.02; i=$((i + 1)); done; '
              'ls "$HAKMEM_STAT" | wc -l')
    out = p.root / "out.json"
    done = run("--json", "-o", out, "--", "sh", "-c", script)
    report = json.loads(out.read_text())
    check_sums(report)
    assert report["unobserved_processes"] == 0
    ours = [x for x in report["processes"] if x["program"] == str(OPS)]
    assert len(ours) == 60 and len(report["processes"]) > 120, len(report["processes"])
    assert {x["entry_points"]["malloc"] for x in ours} == {ours[0]["entry_points"]["malloc"]}
    left = int(done.stdout)
    assert left < len(report["processes"]) - 40, f"{left} files were left when it ended"


def test_child_without_file(p):
    if os.geteuid() != 0:
        raise Skip("chroot needs root")
    none, many = p.ops("chroot", 0), p.ops("chroot", N)
    warnings = p.stderr.splitlines()
    assert len(warnings) == 1 and re.fullmatch(
        r"hakmem: warning: HAKMEM_STAT=.*: no file can be made there \(error 2\); "
        r"this process is not observed", warnings[0]), p.stderr
    assert len(many["processes"]) == 1
    expect_requests(many, none, 0, {100: N})


def test_no_file(p):
    """The option alone, with a directory that is none: a warning, and the program runs."""
    done = subprocess.run([OPS, "malloc", "10"], text=True, stderr=subprocess.PIPE, check=False,
                          env=environment({"LD_PRELOAD": LIBRARY, "HAKMEM_STAT": "/nonexistent"}))
    assert done.returncode == 0
    assert done.stderr == ("hakmem: warning: HAKMEM_STAT=/nonexistent: no file can be made there "
                           "(error 2); this process is not observed\n"), done.stderr


def test_file_limit(p):
    """RLIMIT_FSIZE: no SIGXFSZ, a warning instead."""
    report = p.stat("sh", "-c", f"ulimit -f 1; exec {OPS} malloc 10")
    assert report["unobserved_processes"] == 1, report["unobserved_processes"]
    assert "this process is not observed" in p.stderr, p.stderr


def test_files(p):
    """Files for the owner alone; nothing is left; a program's descriptors are as they were."""
    place = Path("/dev/shm")
    if not os.access(place, os.W_OK):
        raise Skip("no /dev/shm")
    before = {x.name for x in place.glob("hakmem-stat-*")}
    script = ('stat -c "%a %n" "$HAKMEM_STAT" "$HAKMEM_STAT"/*; '
              'ls /proc/self/fd | tr "\\n" " "')
    done = run("-o", p.root / "x", "--", "sh", "-c", script)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("700 ") and len(lines) >= 3, lines
    assert all(line.startswith("600 ") for line in lines[1:-1]), lines
    assert lines[-1].split() == ["0", "1", "2", "3"], lines  # 3 is ls's own
    assert {x.name for x in place.glob("hakmem-stat-*")} == before


# --- files that are not what they should be --------------------------------------------------------


def test_unfinished_file(p):
    """One without magic is a process's that is about to begin: it stays until the end."""
    report = p.stat("python3", "-S", "-c", """if True:
        import os, time
        path = os.environ["HAKMEM_STAT"] + "/"
        with open(path + "1-1", "wb"), open(path + "1-2", "wb") as whole:
            whole.truncate(1 << 16)
        time.sleep(0.7)  # the tool looks every 0.25 s
        os.stat(path + "1-1"), os.stat(path + "1-2")""")
    assert report["unobserved_processes"] == 2 and len(report["processes"]) == 1


def test_strange_files(p):
    """What cannot be read is counted, and keeps nothing else from the report."""
    report = p.stat("python3", "-S", "-c", """if True:
        import os
        os.chdir(os.environ["HAKMEM_STAT"])
        os.symlink("/etc/passwd", "1-1")
        os.symlink("nowhere", "1-2")
        os.mkfifo("1-3")
        open("1-4", "wb").truncate(1 << 40)""")
    assert report["unobserved_processes"] == 4 and len(report["processes"]) == 1


# Writes a file as another process's, changed: `edit` has the bytes, and how many bytes lie before a field.
FORGE = """if True:
    import os, struct, sys
    os.chdir(os.environ["HAKMEM_STAT"])
    own = bytearray(open(os.listdir(".")[0], "rb").read())
    offset = dict(zip(("calls", "slots", "slot_size"), map(int, sys.argv[2:])))
    exec(sys.argv[1])
    open("1-1", "wb").write(own)"""


def forge(p, edit, **more):
    """The report, as JSON and as text, of a command that writes such a file."""
    done = subprocess.run([OPS, "layout", "0"], text=True, stdout=subprocess.PIPE, check=True)
    command = ("python3", "-S", "-c", FORGE, edit, *done.stdout.split())
    report = p.stat(*command, **more)
    text = run("--all", "--", *command)
    assert text.returncode == 0, text.stderr
    return report, text.stderr


def test_forged_keys(p):
    """Records of system calls that name what the tables do not have."""
    report, text = forge(p, """if True:
        for i in range(256):
            key = 1 << 31 | i % 512 << 22 | i % 64 << 16 | i % 16 << 12 | 3000 + i
            struct.pack_into("<IIQQQ", own, offset["slots"] + i * offset["slot_size"], key, 0, 5, 6, 7)""")
    assert len(report["processes"]) == 2 and report["unobserved_processes"] == 0
    assert sorted(x["damaged_records"] for x in report["processes"]) == [0, 256]
    assert report["total"]["damaged_records"] == 256
    assert "  256 damaged records of system calls are left out\n" in text, text


def test_forged_words(p):
    """Words without an end, and words that a terminal would obey."""
    for word in ("b'A' * 24", "bytes([27, 91, 50, 74])"):
        report, text = forge(p, f"word = {word}; at = offset['calls']; own[at:at + len(word)] = word")
        assert len(report["processes"]) == 1 and report["unobserved_processes"] == 1, word
        assert "AAAA" not in text and "\x1b" not in text, text


def test_shrinking_file(p):
    """A file under many names that is cut short again and again while it is read: no SIGBUS."""
    p.stat("python3", "-S", "-c", """if True:
        import os, time
        os.chdir(os.environ["HAKMEM_STAT"])
        with open(os.listdir(".")[0], "rb") as own, open("1-1", "w+b", buffering=0) as file:
            content = own.read()
            file.write(content)
            for i in range(3000):
                os.link("1-1", f"2-{i}")
            if os.fork() == 0:
                os.close(1)
                os.close(2)
                end = time.monotonic() + 1
                while time.monotonic() < end:
                    file.truncate(0)
                    os.pwrite(file.fileno(), content, 0)
                os._exit(0)
        time.sleep(0.1)""")


def test_lease_signal(p):
    """The kernel's SIGIO, which it sends to the holder of a lease, does not end the tool."""
    done = p.stat("python3", "-S", "-c", """if True:
        import os, signal
        assert signal.getsignal(signal.SIGIO) == signal.SIG_DFL
        os.kill(os.getppid(), signal.SIGIO)""")
    assert len(done["processes"]) == 1


# --- system calls ---------------------------------------------------------------------------------


def check_against_strace(p, *command, status=0):
    out = p.root / "traced.json"
    traced = count_own_calls.trace(
        LIBRARY, [CLI, "stat", "--json", "-o", str(out), "--", *map(str, command)], preload=False,
        environment=environment(), timeout=600)
    assert status is None or traced.status == status, f"status {traced.status}: {command}"
    assert traced.library_seen
    report = json.loads(out.read_text())
    check_sums(report)
    counted = calls(report["total"])
    assert counted == traced.own, f"{command}: counted {dict(counted)}, strace {dict(traced.own)}"
    return report


def test_strace_modes(p):
    for mode, count, status in (("entries", 200, 0), ("big", 20, 0), ("threads", 2000, 0),
                                ("crowd", 40, 0), ("_exit", 100, 0), ("exec", 100, 0),
                                ("fork", 100, 0), ("spawn", 100, 0)):
        report = check_against_strace(p, OPS, mode, count, status=status)
        if mode == "big":
            of = [row for row in report["total"]["system_calls"]
                  if row["tier"] == "Big" and row["request_max"] >= 80 << 20]
            assert {row["call"] for row in of} >= {"mmap", "mremap"}, of
            assert all(row["ns"] > 0 for row in of), of


def test_strace_programs(p):
    check_against_strace(p, "python3", "-S", "-c", "print(len(str(list(range(200000)))))")
    check_against_strace(p, "sh", "-c", "seq 20000 | sort -r | uniq | wc -l; ls / > /dev/null")


def test_strace_stress(p):
    """Slowed down by strace they may miss aims of their own; test_stress_observed has those."""
    for command in (("exchange", 100000), ("fork_storm", 20), ("thread_storm", 300, 16, 1, 16)):
        check_against_strace(p, STRESS / command[0], *command[1:], status=None)


def test_stress_observed(p):
    """The stress programs find nothing wrong while observed."""
    p.stat(STRESS / "exchange", 1000000)
    p.stat(STRESS / "fork_storm", 100)
    p.stat(STRESS / "thread_storm", 2000, 32, 1, 32)
    p.stat(BIN / "test/shadow/shadow", 200000)
    p.stat(BIN / "test/shadow/shadow", 50000, env={"HAKMEM_CHECKS": "1"})


# --- what people see ------------------------------------------------------------------------------


def test_fault_is_seen(p):
    """The fault of the origin, rebuilt: on the first screen, in both tables."""
    done = run("--lib", os.environ["HAKTEST_MISROUTED"], "--", BIN / "bench_syscall_trace", 50000,
               256, 42)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) <= SCREEN, done.stderr
    calls_row = [line for line in lines if re.search(r"\bmmap\b.*\bbig\b.*\bBig\b.*961-1024", line)]
    assert calls_row and float(re.search(r"([0-9.]+)%", calls_row[0])[1]) > 25, done.stderr
    requests_row = [line for line in lines if re.search(r"%\s+961-1024\s+Big\s+Tiny\b", line)]
    assert len(requests_row) == 1, done.stderr
    shares = [float(x) for x in re.findall(r"([0-9.]+)%", requests_row[0])]
    assert 0.5 < shares[0] < 1.5, requests_row  # of all requests
    assert shares[-1] > 30, requests_row        # of all system calls
    healthy = run("--", BIN / "bench_syscall_trace", 50000, 256, 42)
    assert " Big " not in healthy.stderr, healthy.stderr


def test_text(p):
    done = run("--", OPS, "entries", 10)
    assert done.stdout == "" and done.returncode == 0
    assert len(done.stderr.splitlines()) <= SCREEN, done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 100, done.stderr
    for pattern in (r"^hakmem stat: .*stat_ops entries 10$", r"1 process, 1 thread, .* elapsed",
                    r"peak RSS [0-9.]+ [KM]iB", r"lost to rounding", r"^  system calls: \d",
                    r"^  requests: [\d,]+$", r"magazines: [\d.]+% hits, \d+ refills, \d+ flushes"):
        assert re.search(pattern, done.stderr, re.M), (pattern, done.stderr)
    full = run("--all", "--", OPS, "entries", 10)
    assert "more rows" in done.stderr and "more rows" not in full.stderr


def test_output(p):
    path = p.root / "report"
    done = run("-o", path, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert "hakmem stat: sh -c" in path.read_text()
    assert run("-o", "/nonexistent/x", "--", "true").returncode == 125
    assert run("-o", "/dev/full", "--", "true").returncode == 125


def test_other_encoding(p):
    assert p.stat("echo", b"caf\xe9")["command"] == ["echo", "caf?"]
    assert p.stat("echo", "caf\u00e9")["command"] == ["echo", "caf\u00e9"]


def test_no_memory(p):
    """Whichever allocation of the tool fails: the report is whole, or it says that there is none."""
    library = p.root / "failing_malloc.so"
    subprocess.run([*COMPILER, "-shared", "-fPIC", "-fno-builtin", HERE / "failing_malloc.c", "-o",
                    library, "-ldl"], check=True)
    out = p.root / "out.json"

    def attempt(call):
        done = run("--json", "-o", out, "--", OPS, "malloc", 1, env={
            "LD_PRELOAD": str(library), "FAILING_PROGRAM": "hakmem", "FAILING_CALL": str(call)})
        return done, json.loads(out.read_text()) if done.returncode == 0 else None

    def shape(report):
        total = report["total"]
        return (len(report["processes"]), report["command"], sorted(total["entry_points"]),
                total["request_count"], sum(row["count"] for row in total["requests"]),
                sum(row["count"] for row in total["system_calls"]) == total["system_call_count"])
    _, whole = attempt(1 << 30)
    refused = 0
    for call in range(1, 900, 2):
        done, report = attempt(call)
        if report is None:
            assert done.returncode == 125 and "error" in done.stderr, (call, done)
            refused += 1
        else:  # of no consequence: jansson can do without, or the tool had ended
            assert shape(report) == shape(whole), call
    assert refused > 20, refused


def test_not_started(p):
    for command, status in (("/nonexistent", 127), ("/etc/passwd", 126)):
        done = run("--", command)
        assert done.returncode == status and done.stderr.count("\n") == 1, done.stderr
    for arguments in ((), ("--nonsense",), ("-o",), ("--set", "x"), ("--lib", "/nonexistent")):
        command = ("--", "true") if arguments in ((("--set", "x")), ("--lib", "/nonexistent")) else ()
        done = run(*arguments, *command)
        assert done.returncode == 125 and "error" in done.stderr, (arguments, done.stderr)


def test_unobserved_status(p):
    """A command whose status is like one of ours, and that nobody observes, has a report as any other."""
    static = p.root / "exit_with"
    subprocess.run([*COMPILER, "-static", HERE / "exit_with.c", "-o", static], check=True)
    for status in (125, 126, 127, 200):
        report = p.stat(static, status, status=status)
        assert report["exit_status"] == status and report["processes"] == []


def test_signals(p):
    """One that is sent to the tool reaches the command, and the report still comes."""
    out = p.root / "out.json"
    tool = subprocess.Popen([CLI, "stat", "--json", "-o", out, "--", OPS, "wait", str(N)],
                            stdout=subprocess.PIPE, env=environment())
    assert tool.stdout.readline() == b"ready\n"
    tool.send_signal(signal.SIGTERM)
    tool.stdout.close()
    assert tool.wait(60) == -signal.SIGTERM
    report = json.loads(out.read_text())
    assert report["signal"] == signal.SIGTERM and report["exit_status"] is None
    assert report["total"]["entry_points"]["malloc"] >= N


def test_ignored_child_signal(p):
    """Started with SIGCHLD ignored, as some supervisors do: the command finds it so, and the tool its end."""
    script = "import signal, sys; print(int(signal.getsignal(signal.SIGCHLD))); sys.exit(7)"

    def ignore():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    done = run("-o", p.root / "x", "--", "python3", "-S", "-c", script,
               preexec_fn=ignore)
    assert (done.returncode, done.stderr) == (7, ""), (done.returncode, done.stderr)
    assert "hakmem stat: python3 -S" in (p.root / "x").read_text()
    assert done.stdout == f"{int(signal.SIG_IGN)}\n", done.stdout


def test_options_of_the_library(p):
    done = run("--set", "report=1", "-o", p.root / "x", "--", OPS, "malloc", 1)
    assert "hakmem: report at exit" in done.stderr, done.stderr


def main():
    global COMPILER, OPS
    with tempfile.TemporaryDirectory(prefix="hakmem-stat-") as directory:
        OPS = Path(directory) / "stat_ops"
        COMPILER = os.environ.get("CC", "cc").split()
        subprocess.run([*COMPILER, "-O1", "-fno-builtin", "-pthread",
                        "-I", HERE.parent.parent / "include", HERE / "stat_ops.c", "-o", OPS],
                       check=True)
        run_tests(globals(), lambda: contextlib.nullcontext(Place(directory)))


if __name__ == "__main__":
    main()
