#!/usr/bin/env python3
# test/abi/real_programs.py — real programs answer the same. SPDX-License-Identifier: MIT
"""Runs real programs under libc's malloc and under the library: same stdout bytes, same status.

usage: HAKTEST_LIB=libhakmem.so.1 real_programs.py [--require-all] [--only NAME]... [--list]

Each program does deterministic work in a fresh directory that has the same path both times; what it
leaves in files is hashed into its output. Before the comparison the dynamic linker is asked
(LD_DEBUG=bindings) whether the program's malloc really is the library's: a program that brings its
own allocator would make the comparison worthless. A program that is not installed is skipped
visibly, or fails with --require-all.
"""
import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT_S = 600

FIXED_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C", "TZ": "UTC",
    "LANG": "C", "PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc", "SOURCE_DATE_EPOCH": "0",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.invalid",
    "GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@example.invalid",
    "GIT_AUTHOR_DATE": "2001-02-03T04:05:06Z", "GIT_COMMITTER_DATE": "2001-02-03T04:05:06Z",
}


@dataclass(frozen=True)
class Program:
    """`command` runs in the work directory; `hashed` are files it writes, compared by content."""
    name: str
    needs: tuple                 # programs that must be installed
    command: tuple
    probe: tuple = ()            # a quick command for the bindings; default: needs[0] --version
    hashed: tuple = ()
    inputs: tuple = ()           # files of inputs/, copied before the run
    show_stderr: bool = False    # print what it says of itself



def sources():
    """C files of the tree to compile: the library itself where it is, else the benchmarks."""
    whole = ROOT / "src" / "hakmem.c"
    return [whole] if whole.exists() else sorted((ROOT / "bench").glob("*.c"))


def compile_command(compiler):
    flags = f"-std=gnu17 -O2 -g0 -fno-builtin -I{ROOT}/src -I{ROOT}/include -frandom-seed=1"
    lines = [f"{compiler} {flags} -c {source} -o {source.stem}.o; sha256sum {source.stem}.o"
             for source in sources()]
    return ("bash", "-ec", "\n".join(lines))


def render(device, suffix):
    return ("bash", "-ec", f"gs -q -dSAFER -dBATCH -dNOPAUSE -r100 -sDEVICE={device} "
            f"-sOutputFile=page%d.{suffix} drawing.ps")


def pages(suffix):
    return tuple(f"page{number}.{suffix}" for number in (1, 2, 3))


def compile_probe(compiler):
    return ("bash", "-ec", f"echo 'int x;' >x.c; {compiler} -c x.c -o x.o")


BUILD_CONTAINERS = ("g++ -std=c++17 -O2 -frandom-seed=1 -c containers.cpp; "
                    "sha256sum containers.o; g++ containers.o -o containers; ./containers")


def programs():
    python = "/usr/bin/python3"
    return (
        Program("python3", (python,), (python, "-I", "structures.py"), inputs=("structures.py",)),
        Program("sqlite3", ("sqlite3",), ("bash", "-ec", "sqlite3 work.db <tables.sql"),
                inputs=("tables.sql",)),
        Program("gcc", ("gcc",), compile_command("gcc"), probe=compile_probe("gcc")),
        Program("clang", ("clang",), compile_command("clang"), probe=compile_probe("clang")),
        Program("g++", ("g++",), ("bash", "-ec", BUILD_CONTAINERS), inputs=("containers.cpp",),
                probe=compile_probe("g++")),
        Program("git", ("git",), ("bash", "repository.sh"), inputs=("repository.sh",)),
        Program("lua5.4", ("lua5.4",), ("lua5.4", "collector.lua"), inputs=("collector.lua",),
                probe=("lua5.4", "-v")),
        Program("gs ppmraw", ("gs",), render("ppmraw", "ppm"), inputs=("drawing.ps",),
                hashed=pages("ppm")),
        Program("gs pngmono", ("gs",), render("pngmono", "png"), inputs=("drawing.ps",),
                hashed=pages("png")),
        Program("bash and coreutils", ("bash", "sort", "sed", "awk", "find", "tar", "gzip"),
                ("bash", "shell.sh"), inputs=("shell.sh",), probe=("bash", "-c", "sort /dev/null")),
        Program("redis-server", ("redis-server",), (python, str(HERE / "redis_digest.py")),
                show_stderr=True),
        Program("xz", ("xz",), ("bash", "compress.sh", "xz"), inputs=("compress.sh",)),
        Program("zstd", ("zstd",), ("bash", "compress.sh", "zstd"), inputs=("compress.sh",)),
    )


class Skip(Exception):
    """The program is not installed."""


class Differs(Exception):
    """What is not the same, or not in force."""


def environment(library=None):
    result = dict(FIXED_ENVIRONMENT)
    if library:
        result["LD_PRELOAD"] = library
    return result


def fresh_directory(path, program):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for name in program.inputs:
        shutil.copy(HERE / "inputs" / name, path / name)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"


def run_program(program, work, library):
    fresh_directory(work, program)
    result = subprocess.run(program.command, cwd=work, env=environment(library),
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S,
                            check=False)
    hashes = "".join(f"{name} {digest(work / name)}\n" for name in program.hashed)
    return result.returncode, result.stdout + hashes.encode(), result.stderr


def check_in_force(program, work, library):
    """The dynamic linker's own word that malloc and free are bound to the library."""
    fresh_directory(work, program)
    probe = program.probe or (program.needs[0], "--version")
    variables = environment(library) | {"LD_DEBUG": "bindings",
                                        "LD_DEBUG_OUTPUT": str(work / "bindings")}
    subprocess.run(probe, cwd=work, env=variables, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S,
                   check=False)
    bound = [line for path in work.glob("bindings.*")
             for line in path.read_text(errors="replace").splitlines()
             if "normal symbol `malloc'" in line]
    pairs = {tuple(re.search(r"binding file (\S+) \[.*?\] to (\S+) \[", line).groups())
             for line in bound}
    ours = {source for source, target in pairs if target == library}
    # A program that takes malloc's address lends it to others; its own call must come to us.
    elsewhere = {target for _, target in pairs if target != library and target not in ours}
    if not ours or elsewhere:
        raise Differs(f"the library is not in force: {elsewhere or 'malloc was never bound'}")


def compare(program, work, library):
    missing = [name for name in program.needs if shutil.which(name) is None]
    if missing:
        raise Skip(f"{', '.join(missing)} is not installed")
    check_in_force(program, work, library)
    plain = run_program(program, work, None)
    ours = run_program(program, work, library)
    if plain[0] != ours[0]:
        raise Differs(f"exit status {plain[0]} under libc, {ours[0]} under the library: "
                      f"{ours[2][-300:]!r}")
    if plain[1] != ours[1]:
        raise Differs(f"stdout differs: {first_difference(plain[1], ours[1])}")
    if program.show_stderr:
        print("".join(f"# {line}\n" for line in (plain[2] + ours[2]).decode().splitlines()), end="")
    if plain[0] != 0 or not plain[1]:
        raise Differs(f"the program itself failed: status {plain[0]}, {plain[2][-300:]!r}")
    return f"{len(plain[1])} bytes of output, status {plain[0]}"


def first_difference(left, right):
    for number, (a, b) in enumerate(zip(left.splitlines(), right.splitlines()), 1):
        if a != b:
            return f"line {number}: {a[:120]!r}, {b[:120]!r}"
    return f"{len(left)} bytes, {len(right)} bytes"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--require-all", action="store_true",
                        help="a program that is not installed is a failure")
    parser.add_argument("--only", action="append", help="only this program (may be repeated)")
    parser.add_argument("--list", action="store_true", help="print the programs' names")
    options = parser.parse_args()
    if options.list:
        print("\n".join(program.name for program in programs()))
        return 0
    if "HAKTEST_LIB" not in os.environ:
        parser.error("HAKTEST_LIB names the library")
    library = os.path.realpath(os.environ["HAKTEST_LIB"])
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with tempfile.TemporaryDirectory(prefix="hakmem-abi-") as directory:
        for program in programs():
            if options.only and program.name not in options.only:
                continue
            try:
                told = compare(program, Path(directory) / "work", library)
                print(f"ok - {program.name}: {told}", flush=True)
                counts["passed"] += 1
            except Skip as skip:
                verdict = "not ok" if options.require_all else "ok"
                print(f"{verdict} - {program.name} # SKIP {skip}", flush=True)
                counts["failed" if options.require_all else "skipped"] += 1
            except (Differs, subprocess.TimeoutExpired) as error:
                print(f"not ok - {program.name}: {error}", flush=True)
                counts["failed"] += 1
    print(", ".join(f"{number} {word}" for word, number in counts.items()))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
