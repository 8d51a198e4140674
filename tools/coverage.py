#!/usr/bin/env python3
# tools/coverage.py — which lines and branches of src/ the inside tests execute. SPDX-License-Identifier: MIT
"""Count what the unit and fault suites execute of the library.

    tools/coverage.py BUILD_DIR     of the preset `coverage`, built; needs gcovr

Prints lines and branches of each layer, of the unit tests alone and with the fault suite, and what was
never executed; BUILD_DIR/coverage.html shows it in the source. Fails when a test fails, or below the
bounds here.

Left out are only the branches by which an exception might leave a call (-fexceptions is there for
operator new), and branches of lines without code. Code of other builds is not compiled and so not
counted: assertions and the stage log (debug), the canary, the override's names. What a child counted
before it died of a real fault is lost (test/coverage/coverage_flush.c).
"""
import json
import os
import pathlib
import re
import subprocess
import sys
from collections import Counter

LINES_MIN = 95.0  # percent, of both suites together
BRANCHES_MIN = 90.0
SUITES = ("unit", "fault")

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_suite(build, suite):
    return subprocess.run(["ctest", "--test-dir", build, "-L", f"^{suite}$", "--output-on-failure",
                           "-j", os.environ.get("JOBS", str(os.cpu_count()))]).returncode == 0


def gcovr(build, *options):
    command = ["gcovr", "--root", ROOT, "--object-directory", build, "--filter", f"{ROOT}/src/",
               "--exclude-throw-branches", "--exclude-unreachable-branches", *options, build]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def measure(build):
    """layer → Counter of line_total, line_covered, branch_total, branch_covered; "" is the total."""
    layers = {}
    for file in json.loads(gcovr(build, "--json-summary", "-"))["files"]:
        counts = Counter({key: value for key, value in file.items()
                          if re.fullmatch("(line|branch)_(total|covered)", key)})
        for layer in (file["filename"].split("/")[1], ""):
            layers[layer] = layers.get(layer, Counter()) + counts
    return layers


def layer_names():
    lines = (ROOT / "src/LAYERS").read_text(encoding="utf-8").splitlines()
    return [name.strip() for line in lines for name in line.split(" — ")[0].split("|")]


def percent(counts, kind):
    return 100.0 * counts[kind + "_covered"] / max(counts[kind + "_total"], 1)


def print_table(unit, both):
    print(f"\n{'':10}{'lines':>16}{'unit alone':>12}{'branches':>18}{'unit alone':>12}")
    for layer in [*layer_names(), ""]:
        row = f"{layer or 'total':10}"
        for kind, width in (("line", 6), ("branch", 8)):
            count = f"{both[layer][kind + '_covered']}/{both[layer][kind + '_total']}"
            row += f"{count:>{width + 4}}{percent(both[layer], kind):5.1f}%"
            row += f"{percent(unit.get(layer, Counter()), kind):11.1f}%"
        print(row)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    build = os.path.abspath(sys.argv[1])
    for old in pathlib.Path(build).rglob("*.gcda"):
        old.unlink()
    is_good = True
    measured = []
    for suite in SUITES:
        is_good &= run_suite(build, suite)
        measured.append(measure(build))
    unit, both = measured
    page = os.path.join(build, "coverage.html")
    gcovr(build, "--html-details", page)
    print(gcovr(build, "--txt", "-"))
    print(gcovr(build, "--txt", "-", "--branches"))
    print_table(unit, both)
    print(f"\n{page}")
    for kind, least in (("line", LINES_MIN), ("branch", BRANCHES_MIN)):
        if percent(both[""], kind) < least:
            print(f"coverage: below the bound of {least:g} % ({kind})")
            is_good = False
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
