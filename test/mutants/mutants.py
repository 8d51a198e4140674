#!/usr/bin/env python3
# test/mutants/mutants.py — breaks the library on purpose and sees which test says so. SPDX-License-Identifier: MIT
"""usage: mutants.py --build DIR [--jobs N] [NAME...]
       mutants.py --check | --list | --self-test

A mutant is one mistake that a person could make. The *.mutants files beside this program list them, one file a
layer (README.md has the form). Each is made in a copy of the tree in DIR, built, and given to the tests that its
entry names, until one fails; then it is taken back. NAMEs choose mutants or files.

Exits with 0 if every mutant applied and built, at least 95 % were killed, and those that were not are exactly
those whose entry says why they survive. --check: only whether every mutant still applies.
"""
import argparse
import fnmatch
import json
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
KILLED_MIN = 0.95
MUTANT_SECONDS = 120  # of tests, for one mutant
TEST_SECONDS_MIN = 20  # until a test counts as hanging; or ten times what it takes without the mutant
COMPILE = "compile"  # instead of a test: the compiler's warnings kill the mutant


class Mistake(Exception):
    """An entry that cannot be read or applied."""


class Edit:
    def __init__(self, path, function):
        self.path = path
        self.function = function  # None: anywhere in the file
        self.old = []
        self.new = []

    def region(self, text):
        """(begin, end) of the text that the edit may change."""
        if self.function is None:
            return 0, len(text)
        start = re.search(rf"^(?=\w)[^\n;#]*\b{self.function}\([^;{{]*\{{$", text, re.M)
        if not start:
            raise Mistake(f"{self.path}: no function {self.function}")
        end = text.find("\n}", start.end())
        return start.start(), end if end >= 0 else len(text)

    def apply(self, text):
        """The text with the edit made. White space in the old text matches any, or none."""
        tokens = re.findall(r"\w+|[^\w\s]", " ".join(self.old))
        if not tokens:
            raise Mistake(f"{self.path}: nothing to be replaced")
        pattern = re.compile(r"\s*".join(map(re.escape, tokens)))
        begin, end = self.region(text)
        found = [match for match in pattern.finditer(text, begin, end)]
        if len(found) != 1:
            where = f"{self.path}, {self.function}" if self.function else self.path
            raise Mistake(f"{where}: {len(found)} places have: {' '.join(self.old).strip()}")
        return text[:found[0].start()] + "\n".join(self.new) + text[found[0].end():]


class Mutant:
    def __init__(self, name, file):
        self.name = name
        self.file = file
        self.breaks = None
        self.survives = None
        self.edits = []
        self.by = []  # (preset, test), in order

    def apply(self, tree):
        """{path: text with the mutation} of every file that it changes."""
        changed = {}
        for edit in self.edits:
            if edit.path not in changed:
                try:
                    changed[edit.path] = (tree / edit.path).read_text()
                except OSError as error:
                    raise Mistake(str(error)) from error
            changed[edit.path] = edit.apply(changed[edit.path])
        return changed

    def verify(self):
        if not self.breaks or not self.edits:
            raise Mistake("needs `breaks` and `at`")
        if not self.by:
            raise Mistake("no test is named")


def parse(text, file):
    """The mutants of one file."""
    mutants = []
    for number, line in enumerate(text.splitlines(), 1):
        word, _, rest = line.partition(" ")
        mutant = mutants[-1] if mutants else None
        edit = mutant.edits[-1] if mutant and mutant.edits else None
        if not line.strip() or word == "#":
            continue
        if word == "mutant":
            mutants.append(Mutant(rest.strip(), file))
        elif word == "breaks" and mutant and mutant.breaks is None:
            mutant.breaks = rest
        elif word == "survives" and mutant and mutant.survives is None:
            mutant.survives = rest
        elif word == "at" and mutant and len(rest.split()) in (1, 2):
            path, *function = rest.split()
            mutant.edits.append(Edit(path, function[0] if function else None))
        elif word == "by" and mutant and len(rest.split()) >= 2:
            preset, *tests = rest.split()
            mutant.by += [(preset, test) for test in tests]
        elif line[0] == "-" and edit and not edit.new:
            edit.old.append(line[1:])
        elif line[0] == "+" and edit:
            edit.new.append(line[1:])
        else:
            raise Mistake(f"{file}:{number}: cannot be read: {line}")
    for mutant in mutants:
        try:
            mutant.verify()
        except Mistake as mistake:
            raise Mistake(f"{file}: {mutant.name}: {mistake}") from mistake
    return mutants


def load():
    mutants = []
    for path in sorted(HERE.glob("*.mutants")):
        mutants += parse(path.read_text(), path.stem)
    names = [mutant.name for mutant in mutants]
    for name in {name for name in names if names.count(name) > 1}:
        raise Mistake(f"two mutants are called {name}")
    return mutants


def check(mutants, tree):
    """What no longer applies, or changes nothing, a line each."""
    wrong = []
    for mutant in mutants:
        try:
            for path, text in mutant.apply(tree).items():
                if text == (tree / path).read_text():
                    wrong.append(f"{mutant.name}: changes nothing in {path}")
        except Mistake as mistake:
            wrong.append(f"{mutant.name}: {mistake}")
    return wrong


# ---- a copy of the tree, built ----


def copy_tree(to):
    """Makes `to` the same as the tree, and leaves alone what is the same already: builds stay incremental."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=TREE, check=True, capture_output=True, text=True).stdout
    wanted = {path for path in listed.split("\0") if path and (TREE / path).is_file()}
    for path in wanted:
        source, target = TREE / path, to / path
        if target.is_file() and target.read_bytes() == source.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
    for target in [path for path in to.rglob("*") if path.is_file()]:
        if str(target.relative_to(to)) not in wanted and "__pycache__" not in target.parts:
            target.unlink()


class Test:
    """One test of ctest's, run without it: it has a time limit, and says what failed."""

    def __init__(self, entry, command, build):
        self.name = entry["name"]
        self.command = command
        properties = {item["name"]: item["value"] for item in entry["properties"]}
        self.folder = properties.get("WORKING_DIRECTORY", str(build))
        self.environment = dict(item.split("=", 1) for item in properties.get("ENVIRONMENT", []))
        self.skip_status = properties.get("SKIP_RETURN_CODE", 77)
        self.seconds = 0.0

    def targets(self, build):
        """What has to be built for it: the programs that it names, and the library. A script says neither."""
        programs = [os.path.relpath(word, build) for word in self.command
                    if word.startswith(f"{build}/") and "=" not in word]
        if not programs and str(build) not in self.command:
            script = Path(self.command[0]).read_text()
            return ["all"] if re.search("HAKTEST_(BIN|CLI)", script) else ["hakmem_shared"]
        if self.name.startswith("golden."):
            programs.append("test/golden/warm_calls")
        uses_library = {"LD_PRELOAD", "HAKTEST_LIB"} & self.environment.keys() or str(build) in self.command
        return programs + (["hakmem_shared"] if uses_library else [])

    def run(self, limit):
        """None: passed. Else what failed, in a few words."""
        start = time.monotonic()
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, env={**os.environ, **self.environment},
                                       start_new_session=True)
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            if status is None or status != 0:  # nobody of it is left behind
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
            log.seek(0)
            text = log.read().decode(errors="replace")
        self.seconds = time.monotonic() - start
        if status in (0, self.skip_status):
            return None
        return "hangs" if status is None else complaint(text, status)


COMPLAINTS = (r"\[  FAILED  \] (?!\d+ test)([\w:]+)", r"(ThreadSanitizer: [a-z ]+)", r"^not ok \d* ?-? ?(.*)",
              r"(\S+: .*not true: .*)", r"(\S+\.[ch]:\d+: .*)", r"((?:FAIL|failed)\S* .*)")


def complaint(text, status):
    for pattern in COMPLAINTS:
        if match := re.search(pattern, text, re.M):
            return match[1].strip()[:100]
    last = ([""] + text.split("\n"))[-2 if text.endswith("\n") else -1]
    return f"signal {-status}" if status < 0 else f"status {status}: {last[:80]}"


class Workshop:
    """A copy of the tree and its builds, for one mutant at a time."""

    def __init__(self, folder, threads):
        self.tree = folder / "tree"
        self.folder = folder
        self.threads = threads
        self.tests = {}  # preset -> {name: Test}
        self.tree.mkdir(parents=True, exist_ok=True)
        copy_tree(self.tree)

    def build_folder(self, preset):
        return self.folder / preset

    def configure(self, preset):
        # A mutant may leave something unused. clang's own analysis of locks is a test, though.
        werror = "ON" if preset == "release-clang" else "OFF"
        done = subprocess.run(["cmake", "--preset", preset, "-B", self.build_folder(preset),
                               f"-DHAKMEM_WERROR={werror}"], cwd=self.tree, capture_output=True, text=True)
        if done.returncode != 0:
            raise Mistake(f"{preset}: cmake failed\n{done.stdout}{done.stderr}")
        listed = subprocess.run(["ctest", "--show-only=json-v1"], cwd=self.build_folder(preset), check=True,
                                capture_output=True, text=True).stdout
        build = self.build_folder(preset)
        # ctest does not tell the commands of programs that have not been built yet: its own file does.
        commands = {name: shlex.split(words) for name, words in re.findall(
            r"^add_test\(\[=\[(.+?)\]=\] (.*)\)$", (build / "test/CTestTestfile.cmake").read_text(), re.M)}
        self.tests[preset] = {entry["name"]: Test(entry, commands[entry["name"]], build)
                              for entry in json.loads(listed)["tests"]}

    def find(self, preset, pattern):
        """The tests that an entry names."""
        if pattern == COMPILE:
            return []
        found = fnmatch.filter(self.tests[preset], pattern)
        if not found:
            raise Mistake(f"{preset} has no test {pattern}")
        return [self.tests[preset][name] for name in found]

    def build(self, preset, targets):
        """None, or what the compiler says."""
        targets = ["all"] if "all" in targets else sorted(set(targets))
        done = subprocess.run(["ninja", "-C", self.build_folder(preset), f"-j{self.threads}", *targets],
                              capture_output=True, text=True)
        if done.returncode == 0:
            return None
        errors = re.findall(r"^.*error: .*$|^.*undefined reference.*$", done.stdout, re.M)
        return errors[0].strip() if errors else done.stdout[-300:]


class Runner:
    def __init__(self, folder, jobs, mutants):
        self.mutants = mutants
        self.seconds = {}  # (preset, test) -> as it takes without a mutant
        threads = max(1, (os.cpu_count() or 1) // jobs)
        self.workshops = [Workshop(folder / str(job + 1), threads) for job in range(jobs)]
        self.results = {}
        self.lock = threading.Lock()

    def prepare(self, workshop, is_first):
        """Builds what is needed, and sees that every test passes without a mutant."""
        wanted = {}
        for mutant in self.mutants:
            for preset, pattern in mutant.by:
                wanted.setdefault(preset, {})[pattern] = None
        for preset, patterns in wanted.items():
            workshop.configure(preset)
            tests = {test.name: test for pattern in patterns for test in workshop.find(preset, pattern)}
            targets = [target for test in tests.values()
                       for target in test.targets(workshop.build_folder(preset))]
            if COMPILE in patterns:
                targets += ["hakmem_prefixed_static"]
            if error := workshop.build(preset, targets):
                raise Mistake(f"{preset} does not build: {error}")
            for test in tests.values() if is_first else ():
                if failed := test.run(300):
                    raise Mistake(f"{test.name} in {preset} fails without a mutant: {failed}")
                self.seconds[preset, test.name] = test.seconds
            if is_first:
                seconds = sum(test.seconds for test in tests.values())
                print(f"{preset}: built; {len(tests)} tests pass without a mutant, in {seconds:.0f} s", flush=True)

    def try_tests(self, workshop, mutant):
        """(verdict, by what) of a mutant that is in place."""
        deadline = time.monotonic() + MUTANT_SECONDS
        for preset, pattern in mutant.by:
            tests = workshop.find(preset, pattern)
            build = workshop.build_folder(preset)
            targets = [target for test in tests for target in test.targets(build)] or ["hakmem_prefixed_static"]
            started = time.monotonic()
            error = workshop.build(preset, targets)
            deadline += time.monotonic() - started
            if error:
                return ("killed" if pattern == COMPILE else "does not build", f"{preset}: {error}")
            for test in tests:
                limit = max(TEST_SECONDS_MIN, 10 * self.seconds[preset, test.name])
                left = deadline - time.monotonic()
                if left <= 0:
                    return ("survived", f"after {MUTANT_SECONDS} seconds")
                if failed := test.run(min(limit, left)):
                    return ("killed", f"{preset} {test.name}: {failed}")
        return ("survived", "all tests passed")

    def try_mutant(self, workshop, mutant):
        try:
            changed = mutant.apply(workshop.tree)
        except Mistake as mistake:
            return ("does not apply", str(mistake))
        before = {path: (workshop.tree / path).read_text() for path in changed}
        try:
            for path, text in changed.items():
                (workshop.tree / path).write_text(text)
            return self.try_tests(workshop, mutant)
        finally:
            for path, text in before.items():
                (workshop.tree / path).write_text(text)

    def work(self, workshop, waiting):
        while True:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            started = time.monotonic()
            try:
                verdict, what = self.try_mutant(workshop, mutant)
            except Mistake as mistake:
                verdict, what = "does not apply", str(mistake)
            with self.lock:
                self.results[mutant.name] = (verdict, what)
                print(f"{verdict:14} {mutant.name:40} {what}  ({time.monotonic() - started:.0f} s)", flush=True)

    def run(self):
        for workshop in self.workshops:
            self.prepare(workshop, workshop is self.workshops[0])
        waiting = queue.Queue()
        for mutant in self.mutants:
            waiting.put(mutant)
        threads = [threading.Thread(target=self.work, args=(workshop, waiting)) for workshop in self.workshops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def judge(mutants, results):
    """Prints the summary; True: as it should be."""
    is_good = True
    killed = sum(results[mutant.name][0] == "killed" for mutant in mutants)
    print()
    for mutant in mutants:
        verdict, what = results[mutant.name]
        if verdict == "killed" and mutant.survives:
            print(f"killed, though it is listed as a survivor: {mutant.name}: {what}")
        elif verdict == "survived" and mutant.survives:
            print(f"survived, as listed: {mutant.name}: {mutant.survives}")
            continue
        elif verdict == "killed":
            continue
        else:
            print(f"{verdict}: {mutant.name}: {what}\n    it breaks: {mutant.breaks}")
        is_good = False
    print(f"{killed} of {len(mutants)} mutants killed")
    return is_good and killed >= KILLED_MIN * len(mutants)


# ---- the runner's own test ----

SELF_TREE = """static int add(int a,
               int b) {
    return a + b;
}

int twice(int a) {
    return add(a,
               a);
}
"""
SELF_MUTANT = "mutant m\nbreaks b\nat f.c {at}\n-{old}\n+{new}\nby release unit.*\n"


def self_test():
    """Entries that are wrong are told from those that are right."""
    failed = 0
    cases = [  # function, old, new -> the line that results, or None: does not apply
        ("", "add(a, a)", "add(a, 0)", "return add(a, 0);"),
        ("twice", "return add ( a,a );", "return a;", "return a;"),
        ("add", "a + b", "a - b", "return a - b;"),
        ("", "a", "b", None),  # more than one place
        ("", "a * b", "b", None),  # none
        ("add", "add(a, a)", "a", None),  # not in that function
        ("thrice", "a + b", "a", None),  # no such function
    ]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "f.c").write_text(SELF_TREE)
        for at, old, new, wanted in cases:
            mutants = parse(SELF_MUTANT.format(at=at, old=old, new=new), "self")
            wrong = check(mutants, Path(folder))
            text = "" if wrong else mutants[0].apply(Path(folder))["f.c"]
            if bool(wrong) != (wanted is None) or (wanted and wanted not in text):
                print(f"self-test: {at or 'anywhere'}: {old} -> {new}: {wrong or text}")
                failed += 1
        if not check(parse(SELF_MUTANT.format(at="", old="a + b", new="a + b"), "self"), Path(folder)):
            print("self-test: a mutant that changes nothing passes")
            failed += 1
    for text in ("breaks b\n", "mutant m\n", "mutant m\nbreaks b\nat f.c\n-a\n+b\n", "mutant m\nbreaks b\n-a\n+b\n"):
        try:
            parse(text, "self")
            print(f"self-test: reads {text!r}")
            failed += 1
        except Mistake:
            pass
    listed, unlisted = Mutant("m", "self"), Mutant("n", "self")
    listed.survives = "why"
    verdicts = [(("survived", "killed"), False), (("survived", "survived"), False), (("killed", "killed"), False)]
    stdout, sys.stdout = sys.stdout, open(os.devnull, "w", encoding="utf-8")
    results = [judge([listed, unlisted], dict(zip("mn", ((a, ""), (b, ""))))) for (a, b), _ in verdicts]
    results.append(judge([unlisted], {"n": ("killed", "")}))
    results.append(judge([unlisted], {"n": ("does not build", "")}))
    sys.stdout = stdout
    if results != [wanted for _, wanted in verdicts] + [True, False]:
        print(f"self-test: judged {results}")
        failed += 1
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    parser.add_argument("--build", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    try:
        mutants = load()
        if arguments.names:
            unknown = set(arguments.names) - {m.name for m in mutants} - {m.file for m in mutants}
            if unknown:
                raise Mistake(f"no mutant {', '.join(sorted(unknown))}")
            mutants = [m for m in mutants if m.name in arguments.names or m.file in arguments.names]
        wrong = check(mutants, TREE)
    except Mistake as mistake:
        print(f"mutants: {mistake}")
        return 2
    for line in wrong:
        print(line)
    if arguments.check:
        print(f"{len(mutants) - len(wrong)} passed, {len(wrong)} failed")
        return 1 if wrong else 0
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.file:8} {mutant.name:40} {mutant.breaks}")
        return 0
    if wrong:
        return 1
    runner = Runner(arguments.build.resolve(), arguments.jobs, mutants)
    try:
        runner.run()
    except Mistake as mistake:
        print(f"mutants: {mistake}")
        return 2
    return 0 if judge(mutants, runner.results) else 1


if __name__ == "__main__":
    sys.exit(main())
