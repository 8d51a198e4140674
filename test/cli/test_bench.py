#!/usr/bin/env python3
# test/cli/test_bench.py — `hakmem bench` as its user meets it. SPDX-License-Identifier: MIT
"""usage: HAKTEST_CLI=build/hakmem HAKTEST_BIN=build [CC=cc] test_bench.py [NAME]...

Goal: every allocator runs in every round, in a rotating order, in an environment of its own; what is reported
is what was measured; what failed, crashed, hung, was interrupted or ran without its allocator is told, and
enters no number.
Method: a workload that writes down under what it ran; dummy libraries; two rounds each. No time is compared.
NAMEs select the tests whose name contains one of them.
"""
import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runner import Skip, run as run_tests

HERE = Path(__file__).resolve().parent
CLI = os.environ.get("HAKTEST_CLI", "")
BIN = Path(os.environ.get("HAKTEST_BIN", "."))


class Place:
    """A directory with the programs, and a list of workloads of its own."""

    def __init__(self, directory):
        self.root = Path(directory)
        self.log = self.root / "log"
        self.json = self.root / "report.json"
        self.library = self.compile("dummy_preload.c", "libdummy.so", "-shared", "-fPIC")
        self.probe = self.compile("bench_probe.c", "probe")
        self.list("probe | test | floor latency | probe @/log 0 0 | tells under what it ran",
                  "timed | other | timed | probe @/log 0 0 | the same, for a time")

    def list(self, *lines):
        (self.root / "workloads.txt").write_text("# test\n\n" + "".join(f"{l}\n" for l in lines))

    def compile(self, source, name, *flags):
        path = self.root / name
        compiler = os.environ.get("CC", "cc").split()
        subprocess.run([*compiler, "-O1", *flags, HERE / source, "-o", path], check=True)
        return path

    def environment(self, **changes):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HAKMEM_", "LD_"))}
        kept.update({"LC_ALL": "C", "HAKMEM_BENCH_DIR": str(self.root), **changes})
        return {k: v for k, v in kept.items() if v is not None}

    def start(self, *arguments, env=None, **options):
        command = [CLI, "bench", *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment(**(env or {})), text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, errors="replace", **options)

    def run(self, *arguments, status=0, env=None):
        child = self.start(*arguments, env=env)
        out, err = child.communicate(timeout=120)
        assert child.returncode == status, \
            f"{arguments}: status {child.returncode}, not {status}\n{out}\n{err}"
        return out, err

    def refuse(self, *arguments, status=125, env=None):
        """One line on stderr, nothing has run."""
        out, err = self.run(*arguments, status=status, env=env)
        assert err.startswith("hakmem: error: ") and err.count("\n") == 1, err
        assert not self.log.exists(), self.log.read_text()
        return err

    def report(self, *arguments, **options):
        """What --json has."""
        self.run("--json", self.json, *arguments, **options)
        return json.loads(self.json.read_text())

    def runs(self):
        """What the probe wrote down, line by line; then it starts anew."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        self.log.unlink()
        return lines


def cells(report, row=0):
    return {cell["allocator"]: cell for cell in report["rows"][row]["allocators"]}


# --- what runs, and where --------------------------------------------------------------------------


def test_order_and_environment(p):
    """A traced run of each; then rounds, each beginning one later; then those of the latencies."""
    allocators = f"a=sys,PROBE=1,b={p.library},PROBE=two\\,three,c=sys,floor"
    p.run("--allocators", allocators, "--rounds", 3, "--latency", 2, "probe",
          env={"MALLOC_PROBE": "stray", "LD_PRELOAD": None})
    a, b, c = ["-", "1"], ["libdummy.so", "two,three"], ["-", "-"]
    whole = [(a, 3), (b, 3), (c, 3), (c, 4)]  # allocator, number of arguments: floor has one more
    expected = [(*who, "-", "-", str(count)) for who, count in whole]
    for latency, rounds in (("-", 3), ("1", 2)):
        for first in range(rounds):
            for who, count in whole[first:] + whole[:first]:
                expected.append((*who, latency, "-", str(count)))
    seen = [tuple(line) for line in p.runs()]
    assert seen == expected, f"\n{seen}\n{expected}"


def test_selection(p):
    for names, count in ((("probe",), 1), (("test",), 1), (("probe", "timed"), 2), ((), 2)):
        report = p.report("--allocators", "sys", "--rounds", 1, "--no-trace", *names)
        assert len(report["rows"]) == count, names
        assert len(p.runs()) == count, names


def test_report(p):
    table = p.root / "table"
    numbers = p.root / "numbers.csv"
    report = p.report("--allocators", f"sys,dummy={p.library},floor", "--rounds", 2, "--latency", 1,
                      "--csv", numbers, "-o", table)
    assert report["format"] == "hakmem-bench" and report["interrupted_by"] is None
    row = report["rows"][0]
    assert row["workload"] == "probe" and row["by"] == "cpu_s" and row["rounds"] == 2
    assert len(row["calibration_s"]) == 2 and all(s > 0 for s in row["calibration_s"])
    assert report["rows"][1]["by"] == "s_per_operation"
    found = cells(report)
    assert list(found) == ["sys", "dummy", "floor"]
    for name, cell in found.items():
        assert cell["failures"] == 0 and cell["runs"] == 4, (name, cell)
        assert cell["library"] == ("present" if name == "dummy" else "none"), (name, cell)
        # execve is not counted, all that the loader does is.
        assert 10 < cell["system_calls"] < 500, (name, cell["system_calls"])
        assert 0 < cell["memory_calls"] < cell["system_calls"], (name, cell)
        for key in ("wall_s", "cpu_s", "peak_rss_bytes", "minor_faults"):
            metric = cell["metrics"][key]
            assert len(metric["rounds"]) == 2 and metric["min"] > 0, (name, key, metric)
            assert metric["min"] <= metric["median"] <= metric["max"], (name, key, metric)
        assert cell["metrics"]["s_per_operation"]["median"] == 2e-6, (name, cell)
        assert cell["metrics"]["p99.9_s"]["rounds"] == [4e-08], (name, cell)
        assert cell["latency_histogram"] == [[20, 990], [30, 9], [50, 1]], (name, cell)
    assert found["dummy"]["ratio"]["verdict"] == "few" and "ratio" not in found["floor"]
    assert found["dummy"]["ratio"]["pairs"] == 2
    assert [name for name in cells(report, 1)] == ["sys", "dummy"]  # it has no floor
    assert report["allocators"][1]["total"]["few"] == 2
    with open(numbers, newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 2 * 3 + 2 * 2, rows
    dummy = [r for r in rows if r["allocator"] == "dummy" and r["workload"] == "probe"]
    assert [r["round"] for r in dummy] == ["1", "2"]
    assert [float(r["wall_s"]) for r in dummy] == found["dummy"]["metrics"]["wall_s"]["rounds"]
    assert [r["p50_s"] for r in dummy] == ["2e-08", ""], dummy
    text = table.read_text()
    for word in ("probe: tells under what it ran", "dummy", "floor", "latency", "few", "won"):
        assert word in text, (word, text)


def test_csv_quotes(p):
    name = 'a "b", c'
    p.list(f"{name} | test | - | probe @/log 0 0 | x")
    p.run("--allocators", "sys", "--rounds", 1, "--csv", p.root / "numbers.csv")
    with open(p.root / "numbers.csv", newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines, strict=True))
    assert len(rows) == 2 and len(rows[0]) == len(rows[1]) and rows[1][0] == name, rows


def test_verdicts(p):
    """Six rounds of two allocators that are one: the interval is there, and no round is missing."""
    report = p.report("--allocators", "one=sys,two=sys", "--rounds", 6, "--no-trace", "timed")
    ratio = cells(report)["two"]["ratio"]
    assert ratio["pairs"] == 6 and ratio["median"] == ratio["low"] == ratio["high"] == 1, ratio
    assert ratio["verdict"] in ("tie", "noisy"), ratio  # noisy: the calibration loop may vary here


def test_memory(p):
    """Peak, mean and curve are the command's own: not what hakmem bench itself has."""
    large = cells(p.report("--allocators", "sys", "--rounds", 1, "--interval", 5, "--no-trace", "--",
                           p.probe, p.log, 64, 1000))["sys"]
    peak = large["metrics"]["peak_rss_bytes"]["median"]
    assert 64 << 20 < peak < 72 << 20, peak
    points = large["rss_over_time"]["rss_bytes"]
    assert large["rss_over_time"]["interval_s"] == 0.005 and 20 <= len(points) <= 256, len(points)
    # The kernel's counters lag behind by some pages: the last sample may be above the peak it tells.
    assert points[0] < 32 << 20 and 62 << 20 < points[-1] <= peak + (1 << 20), (points, peak)
    assert 16 << 20 < large["metrics"]["mean_rss_bytes"]["median"] <= peak + (1 << 20)
    assert large["metrics"]["minor_faults"]["median"] >= 64 << 8
    small = cells(p.report("--allocators", "sys", "--rounds", 1, "--no-trace", "--", p.probe, p.log, 0,
                           0))["sys"]
    assert small["metrics"]["peak_rss_bytes"]["median"] < 4 << 20, small["metrics"]
    assert small["metrics"]["mean_rss_bytes"] is None  # too short for a mean


def test_memory_of_many_results(p):
    """Nor does it grow with what is kept of other runs: here room for 32 × 1,000 rounds, 4 MB."""
    names = ",".join(f"a{i}=sys" for i in range(32))
    found = cells(p.report("--allocators", names, "--rounds", 1, "--latency", 1000, "--no-trace", "timed"))
    peaks = [cell["metrics"]["peak_rss_bytes"]["median"] for cell in found.values()]
    assert len(peaks) == 32 and max(peaks) < 3 << 20, peaks


def test_long_curve(p):
    """When it is full every second point goes: it still spans the run."""
    cell = cells(p.report("--allocators", "sys", "--rounds", 1, "--interval", 0.5, "--no-trace", "--",
                          p.probe, p.log, 1, 700))["sys"]
    curve = cell["rss_over_time"]
    assert len(curve["rss_bytes"]) <= 256
    assert curve["interval_s"] in [0.0005 * 2 ** n for n in range(2, 12)], curve["interval_s"]
    span = curve["interval_s"] * len(curve["rss_bytes"])
    wall = cell["metrics"]["wall_s"]["median"]
    assert 0.5 * wall <= span <= wall + 0.01, (span, wall)


def test_by(p):
    for word, key in (("cpu", "cpu_s"), ("wall", "wall_s"), ("system", "system_s")):
        report = p.report("--allocators", "sys", "--rounds", 1, "--no-trace", "--by", word, "probe")
        assert report["rows"][0]["by"] == key
    assert p.report("--allocators", "sys", "--rounds", 1, "--no-trace", "--by", "wall",
                    "timed")["rows"][0]["by"] == "s_per_operation"


# --- what fails --------------------------------------------------------------------------------------


def test_crashing_allocator(p):
    """It is told, its numbers are empty, the others' are not touched."""
    bad = p.compile("crashing_preload.c", "libbad.so", "-shared", "-fPIC")
    numbers = p.root / "numbers.csv"
    report = p.report("--allocators", f"sys,bad={bad},dummy={p.library}", "--rounds", 2, "--csv", numbers,
                      "probe", status=1)
    found = cells(report)
    assert found["bad"]["failures"] == found["bad"]["runs"] == 2, found["bad"]
    assert found["bad"]["failure"] == "signal 6 (Aborted): crashing_preload: out of luck"
    assert found["bad"]["metrics"]["cpu_s"] is None and found["bad"]["ratio"] is None
    assert found["dummy"]["failures"] == 0 and found["dummy"]["ratio"]["pairs"] == 2
    assert sum(report["allocators"][1]["total"][v] for v in ("won", "tie", "lost", "noisy", "few")) == 0
    lines = numbers.read_text().splitlines()
    assert any(re.fullmatch(r"probe,bad,1,,,,,[,.\de-]*", line) for line in lines), lines


def test_sometimes_failing(p):
    """A failed round is left out of its pairs; the other rounds count."""
    script = p.root / "sometimes"
    script.write_text(f'#!/bin/sh\necho . >>{p.log}\n[ "$(wc -l <{p.log})" != 3 ]\n')
    script.chmod(0o755)
    report = p.report("--allocators", "one=sys,two=sys", "--rounds", 3, "--no-trace", "--", script,
                      status=1)
    found = cells(report)
    assert found["two"]["failures"] == 1 and found["one"]["failures"] == 0, found
    assert found["two"]["metrics"]["wall_s"]["rounds"][1] is None
    assert found["two"]["ratio"]["pairs"] == 2 and len(found["two"]["metrics"]["wall_s"]["rounds"]) == 3


def test_absent_allocator(p):
    """A program that the loader has no hand in would be measured under a false name."""
    try:
        static = p.compile("bench_probe.c", "static", "-static")
    except subprocess.CalledProcessError:
        raise Skip("cannot link statically") from None
    report = p.report("--allocators", f"sys,dummy={p.library}", "--rounds", 2, "--", static, p.log, 0, 0,
                      status=1)
    dummy = cells(report)["dummy"]
    assert dummy["library"] == "absent" and dummy["runs"] == dummy["failures"] == 1, dummy
    assert "libdummy.so is not in the process" in dummy["failure"], dummy
    assert dummy["metrics"]["wall_s"] is None
    assert len(p.runs()) == 4  # traced twice, then sys alone


def test_system_calls(p):
    """As many as strace sees, the execve before them not counted; of children, too."""
    if shutil.which("strace") is None:
        raise Skip("no strace")
    trace = p.root / "trace"
    for command in ((p.probe, p.log, "1", "1"), ("sh", "-c", "/bin/true; /bin/true; exit 0")):
        with open(p.root / "out", "w", encoding="utf-8") as out:  # stdio asks what kind of file it is
            subprocess.run(["strace", "-f", "-o", trace, *command], env=p.environment(), check=True,
                           stdin=subprocess.DEVNULL, stdout=out)
        lines = re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M)
        memory = re.compile(r"mmap|munmap|mremap|mprotect|madvise|brk|process_madvise")
        cell = cells(p.report("--allocators", "sys", "--rounds", 1, "--", *command))["sys"]
        assert cell["system_calls"] == len(lines) - 1, (cell["system_calls"], lines)
        assert cell["memory_calls"] == sum(1 for line in lines if memory.fullmatch(line)), (cell, lines)


def test_without_ptrace(p):
    """Where it is refused, as here by who traces us already, all is measured, and it says what nobody saw."""
    if shutil.which("strace") is None:
        raise Skip("no strace")
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", CLI, "bench", "--allocators",
                           f"sys,dummy={p.library}", "--rounds", "2", "--json", p.json, "probe"],
                          env=p.environment(), capture_output=True, text=True, timeout=120, check=True)
    warning = "hakmem: warning: bench: ptrace: Operation not permitted: nobody looks whether"
    assert done.stderr.startswith(warning) and done.stderr.count("\n") == 1, done.stderr
    dummy = cells(json.loads(p.json.read_text()))["dummy"]
    assert dummy["library"] == "not checked" and dummy["system_calls"] is None, dummy
    assert dummy["failures"] == 0 and len(p.runs()) == 6


def test_wrong_allocators(p):
    text = p.root / "text.so"
    text.write_text("no library")
    for allocators, what in (
            ("nosuch", "no allocator nosuch"), ("sys,x=nosuch", "no allocator nosuch"),
            (f"x={p.root}/none.so", "no file"), (f"x={text}", "is not a shared library"),
            ("sys,sys", "two allocators are called sys"), ("PROBE=1,sys", "belongs to no allocator"),
            ("", "is neither"), ("sys,,floor", "is neither"), ("Sys", "is neither"),
            ("floor,sys", "begins with the one"), ("a b=sys", "a name has")):
        err = p.refuse("--allocators", allocators, "probe")
        assert what in err, (allocators, err)


def test_command_fails(p):
    report = p.report("--allocators", "sys", "--rounds", 2, "--", "sh", "-c", "echo why >&2; exit 3",
                      status=1)
    assert cells(report)["sys"]["failure"] == "exit 3: why", report
    err = p.refuse("--", "no-such-command", status=127)
    assert err == "hakmem: error: no-such-command: No such file or directory\n", err
    refused = p.root / "workloads.txt"  # a file, but none to execute
    out, _ = p.run("--allocators", "sys", "--rounds", 1, "--", refused, status=1)
    assert f"{refused}: Permission denied" in out, out


def test_timeout(p):
    """It ends with all that it started."""
    started = time.monotonic()
    report = p.report("--allocators", "sys", "--rounds", 3, "--timeout", 2, "--", "sh", "-c",
                      f"sleep 1000 & echo $! >>{p.log}; wait", status=1)
    assert time.monotonic() - started < 60
    cell = cells(report)["sys"]
    assert cell["failures"] == cell["runs"] == 2, cell  # hopeless after two
    assert cell["failure"].startswith("not done after 2 s"), cell
    expect_gone(p.log)


def expect_gone(log):
    """None of the processes whose ids lie there runs."""
    for word in log.read_text().split():
        for _ in range(100):
            try:
                state = Path(f"/proc/{word}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                break
            if state in "ZX":
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"process {word} still runs")


def test_left_behind(p):
    """What a run leaves running would run beside the next one."""
    p.run("--allocators", "sys", "--rounds", 1, "--", "sh", "-c", f"sleep 1000 & echo $! >>{p.log}")
    expect_gone(p.log)


def test_interrupt(p):
    for number in (signal.SIGINT, signal.SIGTERM):
        for traced in ((), ("--no-trace",)):
            child = p.start("--allocators", "sys", "--rounds", 9, *traced, "--json", p.json, "--", "sh",
                            "-c", f"echo $$ >>{p.log}; exec sleep 1000", start_new_session=True)
            while not p.log.exists() or not p.log.read_text().endswith("\n"):
                assert child.poll() is None
                time.sleep(0.02)
            child.send_signal(number)
            _, err = child.communicate(timeout=60)
            assert child.returncode == -number, (number, child.returncode, err)
            assert "interrupted" in err, err
            expect_gone(p.log)
            p.log.unlink()
            report = json.loads(p.json.read_text())
            assert report["interrupted_by"] == number and report["rows"] == [], report


def test_interrupt_keeps_rows(p):
    p.list("probe | test | - | probe @/log 0 0 | quick", "slow | test | - | probe @/log 0 600000 | slow")
    child = p.start("--allocators", "sys", "--rounds", 1, "--json", p.json)
    while not p.log.exists() or p.log.read_text().count("\n") < 3:
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGINT, (child.returncode, err)
    assert [row["workload"] for row in json.loads(p.json.read_text())["rows"]] == ["probe"]
    assert "probe: quick" in out and "slow: slow" not in out, out


def test_outputs_that_cannot_be(p):
    for option in ("--csv", "--json", "-o"):
        assert "/no/such" in p.refuse("--allocators", "sys", option, "/no/such/file", "probe")
        _, err = p.run("--allocators", "sys", "--rounds", 1, option, "/dev/full", "probe", status=125)
        assert "/dev/full cannot be written" in err, err
        p.log.unlink()


def test_wrong_arguments(p):
    for arguments in (("--rounds", "0"), ("--rounds", "2.5"), ("--rounds", "x"), ("--rounds", "1001"),
                      ("--timeout", "0"), ("--interval", "-1"), ("--by", "luck"), ("--nosuch",),
                      ("--rounds",), ("--",), ("nosuch",), ("probe", "--rounds", "2")):
        p.refuse(*arguments)


def test_wrong_lists(p):
    for line in ("probe | test | - | probe", "| test | - | probe | x", "probe | test | - | | x", "probe"):
        p.list("timed | other | timed | probe @/log 0 0 | x", line)
        assert "workloads.txt:4: not `name" in p.refuse("--allocators", "sys"), line
    p.list("gone | test | - | no-such-program | x")
    _, err = p.run("--allocators", "sys", status=125)
    assert "gone: no no-such-program on this machine: left out" in err and "no workload is left" in err
    p.refuse("--allocators", "sys", env={"HAKMEM_BENCH_DIR": "/no/such"})


# --- our own workloads -------------------------------------------------------------------------------


def test_own_list(p):
    """Each has its program, its own name, and a place in the documentation."""
    out, _ = p.run("--list", env={"HAKMEM_BENCH_DIR": None})
    assert "(not found)" not in out and "hakmem " in out, out
    names = re.findall(r"^  (\S+) +\S.*\n {20,}\S", out, re.M)
    lines = (HERE.parents[1] / "bench" / "workloads.txt").read_text().splitlines()
    listed = [line.split("|")[0].strip() for line in lines if line and line[0] != "#"]
    assert names == listed and len(set(names)) == len(names) > 40, (names, listed)
    guide = (HERE.parents[1] / "docs" / "benchmarks.md").read_text()
    for name in names:
        assert f"`{name}`" in guide, f"docs/benchmarks.md does not have {name}"


def test_own_workloads(p):
    """One of ours, whole: hakmem is there, the floor is less, and what it says of itself is read."""
    p.list("tiny | test | floor latency | bench_batches malloc random 25 16 64 20000 42 | tiny")
    (p.root / "bench_batches").symlink_to(BIN / "bench_batches")
    found = cells(p.report("--allocators", "hakmem,sys,floor", "--rounds", 1, "--latency", 1))
    assert found["hakmem"]["library"] == "present", found["hakmem"]
    for cell in found.values():
        assert cell["metrics"]["operations"]["median"] == 20000, cell
        assert sum(count for _, count in cell["latency_histogram"]) == 40000, cell
        assert cell["metrics"]["p50_s"]["median"] <= cell["metrics"]["max_s"]["median"], cell
    assert found["floor"]["memory_calls"] <= found["hakmem"]["memory_calls"]


def test_every_program_small(p):
    """Every program of ours ends well at a small size, under hakmem and without it, and says what it did."""
    small = """bench_batches calloc fifo 7 1 3000 2000 1|bench_batches aligned lifo 9 1 9000 2000 1
        bench_batches resize random 11 8 100 2000 1 floor|bench_random_mixed 2000 16 1
        bench_live_blocks 500 1 300 1 7 2|bench_live_blocks 500 8 8 1|larson 1 8 100 50 3 1 2
        bench_live_blocks 500 1 300 1 7 2 floor|larson 1 8 100 50 3 1 2 floor
        bench_xmalloc symmetric 2 1 8 8 1|bench_false_sharing thrash 2 5 8 50
        bench_rounds log 16 100000 2 3 500 30 1|bench_rounds even 12 200 3 3 500 50 1
        bench_groups 2 20 1|bench_memory short_threads 50 4 1|bench_large_churn 4 2 64 128 1
        bench_realloc_growth pages 1 1|bench_calloc_fresh 1|bench_fragmentation 1 9 1 1"""
    commands = [command.strip() for command in re.split(r"[|\n]", small)]
    p.list(*(f"w{i} | test | - | {command} | x" for i, command in enumerate(commands)))
    for name in {command.split()[0] for command in commands}:
        (p.root / name).symlink_to(BIN / name)
    report = p.report("--allocators", "hakmem,sys", "--rounds", 1)
    assert len(report["rows"]) == len(commands)
    for row in report["rows"]:
        for cell in row["allocators"]:
            assert cell["metrics"]["operations"]["median"] > 0, (row["command"], cell["failure"])


def test_installed(p):
    """An installation that lies anywhere has its library and its workloads."""
    where = p.root / "anywhere"
    subprocess.run(["cmake", "--install", BIN, "--prefix", where], check=True, stdout=subprocess.DEVNULL)
    env = {k: v for k, v in os.environ.items() if not k.startswith("HAKMEM_")}
    done = subprocess.run([where / "bin" / "hakmem", "bench", "--rounds", "1", "--allocators", "hakmem",
                           "-o", p.root / "table", "operations-1e4", "lua"], env=env, check=False,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0 and not done.stderr.count("error"), done.stderr
    assert str(where) in (p.root / "table").read_text()


@contextlib.contextmanager
def fresh_place():
    with tempfile.TemporaryDirectory(prefix="hakmem-bench-") as directory:
        yield Place(directory)


def main():
    if not CLI:
        sys.exit(__doc__)
    run_tests(globals(), fresh_place)


if __name__ == "__main__":
    main()
