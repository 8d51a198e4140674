# test/cli/runner.py — runs a file's tests and says so as ctest's log is read. SPDX-License-Identifier: MIT
"""Each function named test_… is a test; arguments choose those whose names contain one of them."""
import sys


class Skip(Exception):
    """What this machine lacks for a test."""


def run(functions, place):
    """functions: the file's globals(); place(): a context whose value a test is given. Does not return."""
    tests = [(name[len("test_"):], function) for name, function in functions.items()
             if name.startswith("test_")
             and (len(sys.argv) == 1 or any(word in name for word in sys.argv[1:]))]
    print(f"1..{len(tests)}")
    passed = failed = skipped = 0
    for number, (name, function) in enumerate(tests, 1):
        with place() as argument:
            try:
                function(argument)
                passed += 1
                print(f"ok {number} - {name}", flush=True)
            except Skip as reason:
                skipped += 1
                print(f"ok {number} - {name} # SKIP {reason}", flush=True)
            except Exception as error:  # a test that cannot run has failed
                failed += 1
                print(f"not ok {number} - {name}")
                for line in f"{type(error).__name__}: {error}".splitlines():
                    print(f"# {line}", flush=True)
    if skipped:
        print(f"# {skipped} skipped")
    if passed + failed == 0:
        print("# nothing was tested")
        failed = 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
