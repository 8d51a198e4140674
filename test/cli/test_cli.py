#!/usr/bin/env python3
# test/cli/test_cli.py — the `hakmem` command as its user meets it. SPDX-License-Identifier: MIT
"""usage: HAKTEST_CLI=build/hakmem [HAKTEST_LIB=build/libhakmem.so.1] [CC=cc] test_cli.py [NAME]...

Goal: `hakmem run` adds the allocator and nothing else (exit status, signals, arguments and
environment are the command's), finds its library, and says so whenever the override cannot take.
Method: a dummy library tells on stderr that the loader took it, so every warning is held against
what really happened.
NAMEs select the tests whose name contains one of them.
"""
import contextlib
import ctypes
import os
import platform
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from runner import Skip, run as run_tests

HERE = Path(__file__).resolve().parent
NOBODY = 65534
AS_NOBODY = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
TRIPLET = f"{platform.machine()}-linux-gnu"
LOADED = "dummy loaded\n"
RAN = "program ran\n"


class Place:
    """A directory that any user may enter, with the command and the programs in it."""

    def __init__(self, directory):
        self.root = Path(directory)
        self.root.chmod(0o755)
        self.cli = self.copy(os.environ["HAKTEST_CLI"], "tool/hakmem")
        self.library = self.compile("dummy_preload.c", "libdummy.so", "-shared", "-fPIC")
        self.program = self.compile("exit_with.c", "exit_with")

    def path(self, name):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def copy(self, source, name, mode=0o755):
        path = self.path(name)
        shutil.copyfile(source, path)
        path.chmod(mode)
        return path

    def write(self, name, content, mode=0o755):
        path = self.path(name)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def compile(self, source, name, *flags):
        compiler = os.environ.get("CC", "cc").split()
        path = self.path(name)
        subprocess.run([*compiler, "-O1", *flags, HERE / source, "-o", path], check=True)
        return path

    def static(self, *flags):
        """exit_with, linked statically."""
        flags = flags or ("-static",)
        path = self.path("exit_with" + "".join(flags))
        if not path.exists():
            try:
                self.compile("exit_with.c", path.name, *flags)
            except subprocess.CalledProcessError:
                raise Skip(f"cannot link with {' '.join(flags)}") from None
        return path

    def environment(self, **changes):
        """Ours, without what would change the command's behaviour; None removes a variable."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HAKMEM_", "LD_"))}
        kept.update({"DUMMY_SAY": "1", "LC_ALL": "C", **changes})
        return {k: v for k, v in kept.items() if v is not None}

    def call(self, *arguments, cli=None, env=None, **options):
        command = [str(word) for word in (cli or self.cli, *arguments)]
        return subprocess.run(command, env=self.environment(**(env or {})), text=True,
                              stdin=options.pop("stdin", subprocess.DEVNULL), timeout=60,
                              stdout=options.pop("stdout", subprocess.PIPE),
                              stderr=subprocess.PIPE, errors="replace", **options)

    def run(self, *arguments, **options):
        """`hakmem run` with the dummy library."""
        return self.call("run", "--lib", self.library, *arguments, **options)


def expect(done, status=0, out=None, err=None):
    """Exact status; exact stdout and stderr where given."""
    seen = f"\n  status {done.returncode}\n  stdout {done.stdout!r}\n  stderr {done.stderr!r}"
    assert done.returncode == status, f"expected status {status}{seen}"
    assert out is None or done.stdout == out, f"expected stdout {out!r}{seen}"
    assert err is None or done.stderr == err, f"expected stderr {err!r}{seen}"


def expect_obstacle(done, what, program, status=0):
    """One warning that names program and obstacle; the program ran, the library did not load."""
    warning = f"hakmem: warning: {program} {what}: it runs without hakmem\n"
    expect(done, status, out=RAN, err=warning)


def expect_taken(done, status=0):
    """No warning, and the library did load."""
    expect(done, status, err=LOADED)


# --- the command's own fate -----------------------------------------------------------------------


def test_exit_status(p):
    for status in (0, 1, 3, 124, 255):
        expect_taken(p.run("--", p.program, status), status)


def test_not_found(p):
    for name in ("no-such-command", "./no-such-command", "/no/such/command", ""):
        done = p.run("--", name)
        expect(done, 127)
        assert done.stderr == f"hakmem: error: {name}: No such file or directory\n", done.stderr


def test_not_found_behind_closed_directory(p):
    closed = p.path("closed")
    closed.mkdir(0o000)
    user = AS_NOBODY if os.geteuid() == 0 else {}
    done = p.run("--", "no-such-command", env={"PATH": f"{closed}:{os.defpath}"}, **user)
    expect(done, 127, err="hakmem: error: no-such-command: No such file or directory\n")


def test_not_executable(p):
    plain = p.write("plain", "echo no\n", 0o644)
    for name in (plain, p.root):
        expect(p.run("--", name), 126, out="", err=f"hakmem: error: {name}: Permission denied\n")


def test_missing_interpreter(p):
    script = p.write("lost", "#!/no/such/interpreter\n")
    expect(p.run("--", script), 127, out="")


def test_death_by_signal(p):
    for name in ("TERM", "KILL", "SEGV", "ABRT", "PIPE"):
        done = p.run("--", "sh", "-c", f"kill -{name} $$")
        assert done.returncode == -getattr(signal, "SIG" + name), f"{name}: {done.returncode}"


def test_signal_arrives(p):
    script = "trap 'echo got TERM; exit 7' TERM; echo $$; while :; do sleep 0.05; done"
    process = subprocess.Popen([p.cli, "run", "--lib", p.library, "--", "sh", "-c", script],
                               env=p.environment(DUMMY_SAY=None), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        pid = int(process.stdout.readline())
        assert pid == process.pid, f"the command has pid {pid}, its parent knows {process.pid}"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (7, "got TERM\n", ""), (process.returncode, out, err)


def test_ignored_signals_stay_ignored(p):
    def ignore():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    expect_taken(p.run("--", p.program, preexec_fn=ignore))
    done = p.run("--", "sh", "-c", "kill -USR1 $$; echo alive", preexec_fn=ignore)
    assert done.stdout == "alive\n", done


def test_arguments(p):
    words = ["two words", "", "*", "--lib", "-o", "--", "'\"", "a\nb", "ä"]
    done = p.run("--", "printf", "[%s]", *words)
    assert done.stdout == "".join(f"[{word}]" for word in words), done.stdout


def test_command_without_dashes(p):
    expect(p.run("printf", "%s", "--strict"), out="--strict", err=LOADED)


def test_standard_input(p):
    with open(p.write("input", "line\n"), "rb") as stdin:
        expect(p.run("--", "cat", stdin=stdin), out="line\n")


# --- environment ----------------------------------------------------------------------------------


def preload_of(p, before):
    done = p.run("--", "printenv", "LD_PRELOAD", env={"LD_PRELOAD": before, "DUMMY_SAY": None})
    return done.stdout.rstrip("\n")


def test_preload_is_kept(p):
    other = p.copy(p.library, "libother.so")
    third = p.copy(p.library, "libthird.so")
    assert preload_of(p, None) == f"{p.library}"
    assert preload_of(p, "") == f"{p.library}"
    assert preload_of(p, f"{other}") == f"{p.library}:{other}"
    assert preload_of(p, f"{other} {third}") == f"{p.library}:{other}:{third}"
    assert preload_of(p, f" {other}::{third}:") == f"{p.library}:{other}:{third}"


def test_preload_has_no_duplicates(p):
    other = p.copy(p.library, "libother.so")
    link = p.path("liblink.so")
    link.symlink_to(p.library)
    assert preload_of(p, f"{p.library}") == f"{p.library}"
    assert preload_of(p, f"{other}:{p.library}") == f"{p.library}:{other}"
    assert preload_of(p, f"{link}:{other}") == f"{p.library}:{other}"


def test_options(p):
    done = p.run("-o", "checks=1", "-o", "CONF=ace:off,report:1", "-o", "a-b=x=y", "-o", "empty=",
                 "-oace=on", "-o", "ace=off", "--", "env", env={"HAKMEM_CHECKS": "0"})
    seen = {line for line in done.stdout.splitlines() if line.startswith("HAKMEM_")}
    assert seen == {"HAKMEM_CHECKS=1", "HAKMEM_CONF=ace:off,report:1", "HAKMEM_A_B=x=y",
                    "HAKMEM_EMPTY=", "HAKMEM_ACE=off"}, seen


def test_bad_options(p):
    for option in ("checks", "=1", "che cks=1", "ch/ecks=1", "ä=1", "n" * 200 + "=1"):
        done = p.run("-o", option, "--", p.program)
        expect(done, 125, out="")
        assert re.fullmatch(r"hakmem: error: -o .*: .+\n", done.stderr), done.stderr


def test_usage_errors(p):
    for arguments, text in (((), "no command given"), (("--",), "no command given"),
                            (("--no-such", "ls"), "unknown option --no-such"),
                            (("-x", "ls"), "unknown option -x"), (("--lib",), "missing value"),
                            (("-o",), "missing value")):
        done = p.call("run", *arguments)
        expect(done, 125, out="")
        assert text in done.stderr and done.stderr.count("\n") == 1, done.stderr


# --- the library ----------------------------------------------------------------------------------


def test_library_named(p):
    other = p.copy(p.library, "other/libother.so")
    missing = p.root / "missing.so"
    command = ("--", "printenv", "LD_PRELOAD")
    expect(p.call("run", *command, env={"HAKMEM_LIBRARY": str(other)}), out=f"{other}\n")
    expect(p.run(*command, env={"HAKMEM_LIBRARY": str(other)}), out=f"{p.library}\n")
    for arguments, env in ((("--lib", missing), {}), ((), {"HAKMEM_LIBRARY": str(missing)})):
        done = p.call("run", *arguments, *command, env=env)
        expect(done, 125, out="")
        assert str(missing) in done.stderr, done.stderr


def test_library_by_relative_path(p):
    done = p.call("run", "--lib", "libdummy.so", "--", "sh", "-c", "cd /; exec printenv LD_PRELOAD",
                  cwd=p.root)
    expect(done, out=f"{p.library}\n")


def test_library_found_beside_command(p):
    for number, place in enumerate(("bin", "lib", f"lib/{TRIPLET}", "lib64")):
        prefix = f"prefix {number}".replace(" ", "-")
        cli = p.copy(p.cli, f"{prefix}/bin/hakmem")
        library = p.copy(p.library, f"{prefix}/{place}/libhakmem.so.1")
        link = p.path(f"links-{number}/hakmem")
        link.symlink_to(cli)
        for command in (cli, link):
            expect(p.call("run", "--", "printenv", "LD_PRELOAD", cli=command), out=f"{library}\n")
        done = p.call("--version", cli=cli)
        assert done.stdout.splitlines()[1] == f"library {library}", done.stdout


def test_library_not_found(p):
    done = p.call("run", "--", p.program)
    if done.returncode == 0:
        raise Skip("a library is installed where this command looks last")
    expect(done, 125, out="")
    assert done.stderr.startswith("hakmem: error: libhakmem.so.1 not found"), done.stderr
    for place in ("", "../lib/", f"../lib/{TRIPLET}/", "../lib64/"):
        assert f"  {p.cli.parent}/{place}libhakmem.so.1\n" in done.stderr, done.stderr
    assert "HAKMEM_LIBRARY" in done.stderr, done.stderr


def test_library_unfit(p):
    truncated = p.write("truncated.so", p.library.read_bytes()[:40])
    for bad in (p.write("text.so", "text"), truncated, p.root, Path("/dev/null")):
        expect(p.call("run", "--lib", bad, "--", p.program), 125, out="")


def test_library_path_that_preload_cannot_hold(p):
    for name in ("with blank/lib.so", "with:colon/lib.so"):
        library = p.copy(p.library, name)
        done = p.call("run", "--lib", library, "--", p.program)
        expect(done, 125, out="")
        assert "blank or a colon" in done.stderr, done.stderr


def test_real_library(p):
    if not os.environ.get("HAKTEST_LIB"):
        raise Skip("HAKTEST_LIB is not set")
    library = Path(os.environ["HAKTEST_LIB"]).resolve()
    done = p.call("run", "--lib", library, "--", "cat", "/proc/self/maps", env={"DUMMY_SAY": None})
    expect(done, err="")
    assert str(library) in done.stdout, done.stdout


# --- where the override takes, and where not ------------------------------------------------------


def test_taken(p):
    shell = shutil.which("sh")
    env = shutil.which("env")
    commands = [
        [p.program],
        ["true"],
        [p.write("script", f"#!{shell}\nexit 0\n")],
        [p.write("blanks", f"#! \t{shell}  -e \nexit 0\n")],
        [p.write("by-env", f"#!{env} sh\nexit 0\n")],
        [p.write("by-env-S", f"#!{env} -S A=1 sh -e\nexit 0\n")],
        [p.write("nested", f"#!{p.root}/script\n")],
        [p.write("no-shebang", "exit 0\n")],
        ["env", "-u", "B", "-C", "/", "A=1", "sh", "-c", "exit 0"],
    ]
    for command in commands:
        done = p.run("--", *command)
        assert done.returncode == 0, (command, done)
        assert "hakmem:" not in done.stderr and LOADED in done.stderr, (command, done)


def test_taken_through_loader(p):
    text = subprocess.run(["ldd", p.program], capture_output=True, text=True, check=True).stdout
    loader = re.search(r"^\s*(/\S*ld-\S+)", text, re.MULTILINE)[1]
    expect_taken(p.run("--", loader, p.program))


def test_static(p):
    program = p.static()
    expect_obstacle(p.run("--", program, "5"), "is statically linked", program, 5)


def test_static_pie(p):
    program = p.static("-static-pie", "-fPIE")
    expect_obstacle(p.run("--", program), "is statically linked", program)


def test_static_behind_path_and_scripts(p):
    program = p.static()
    path = {"PATH": f"{p.root}:{os.environ['PATH']}"}
    script = p.write("static-script", f"#!{program} 6\n")
    by_env = p.write("static-by-env", f"#!/usr/bin/env {program.name}\n")
    nested = p.write("static-nested", f"#!{script}\n")
    expect_obstacle(p.run("--", program.name, env=path), "is statically linked", program)
    expect_obstacle(p.run("--", script), "is statically linked", program, 6)
    expect_obstacle(p.run("--", nested), "is statically linked", program, 6)
    # env(1) itself is dynamic and takes the library; its successor does not.
    for command in ([by_env], ["env", "--", "A=1", program], ["env", "-S", f"B=1 {program}"],
                    ["env", f"PATH={p.root}", program.name]):
        done = p.run("--", *command, env={**path, "DUMMY_SAY": None})
        expect_obstacle(done, "is statically linked", program)


def test_preload_taken_away_by_env(p):
    for options in (["-i"], ["-"], ["-u", "LD_PRELOAD"], ["LD_PRELOAD="], ["A=1", "LD_PRELOAD=x"]):
        done = p.run("--strict", "--", "env", *options, p.program)
        expect(done, 125, out="")
        assert "started by env" in done.stderr, done.stderr
    # Behind an assignment there are no options any more: "-i" is the command, and not found.
    expect(p.run("--strict", "--", "env", "A=1", "-i", p.program), 127, out="")


def test_strict(p):
    program = p.static()
    done = p.run("--strict", "--", program)
    expect(done, 125, out="", err=f"hakmem: error: {program} is statically linked: "
                                  "not run (--strict)\n")
    expect_taken(p.run("--strict", "--", p.program, "4"), 4)
    expect(p.run("--strict", "--", "no-such-command"), 127, out="")


def test_sanitizers(p):
    """Their allocator is part of them: left alone, with a warning; --strict refuses."""
    tried = 0
    for compiler in ("gcc", "clang"):
        for name in ("address", "thread"):
            for more in ([], ["-static-libasan" if compiler == "gcc" else "-shared-libasan"]):
                target = p.path(f"san-{compiler}-{name}-{len(more)}")
                if shutil.which(compiler) is None or (more and name != "address"):
                    continue
                built = subprocess.run([compiler, f"-fsanitize={name}", *more, "-o", target,
                                        HERE / "exit_with.c"], capture_output=True)
                if built.returncode != 0:
                    continue
                tried += 1
                warning = f"hakmem: warning: {target} is built with a sanitizer"
                done = p.run("--", "env", "A=1", target, "7", env={"DUMMY_SAY": None})
                assert done.stderr.startswith(f"{warning}: it runs without hakmem\n"), done.stderr
                assert LOADED not in done.stderr, done.stderr
                assert "runtime does not come first" not in done.stderr, done.stderr
                done = p.run("--strict", "--", target)
                expect(done, 125, out="", err=f"hakmem: error: {target} is built with a sanitizer: "
                                              "not run (--strict)\n")
    if tried == 0:
        raise Skip("no compiler here links a sanitizer")


def test_foreign_machine(p):
    image = bytearray(p.program.read_bytes())
    image[18:20] = (0xF3 if image[18] != 0xF3 else 0x3E, 0)  # e_machine: RISC-V
    other_machine = p.write("other-machine", bytes(image))
    image = bytearray(p.program.read_bytes())
    header = bytearray(52)  # an ELF32 header for the same file
    header[:20] = image[:20]
    header[4] = 1  # ELFCLASS32
    header[28] = 52  # e_phoff
    header[42] = 32  # e_phentsize
    header[44] = 1  # e_phnum
    other_class = p.write("other-class", bytes(header) + bytes(32))
    for program in (other_machine, other_class):
        done = p.run("--strict", "--", program)
        expect(done, 125, out="")
        assert "is of another ELF class or machine" in done.stderr, done.stderr


def need_root_and_set_id(p):
    if os.geteuid() != 0:
        raise Skip("needs root, to make programs setuid and to become another user")
    if os.statvfs(p.root).f_flag & os.ST_NOSUID:
        raise Skip(f"{p.root} is mounted nosuid")


def test_setuid_and_setgid(p):
    need_root_and_set_id(p)
    for name, mode in (("is setuid", 0o4755), ("is setgid", 0o2755)):
        program = p.copy(p.program, f"program-{mode:o}", mode)
        expect_obstacle(p.run("--", program, "5", **AS_NOBODY), name, program, 5)
        expect_taken(p.run("--", program, "5"), 5)  # root stays root: nothing is raised
        done = p.run("--strict", "--", program, **AS_NOBODY)
        expect(done, 125, out="")


def test_setuid_to_other_user_by_root(p):
    need_root_and_set_id(p)
    program = p.copy(p.program, "program-nobody")
    os.chown(program, NOBODY, 0)
    program.chmod(0o4755)
    expect_obstacle(p.run("--", program), "is setuid", program)
    expect_taken(p.run("--", program, **AS_NOBODY))


def test_setgid_without_group_execute(p):
    need_root_and_set_id(p)
    program = p.copy(p.program, "program-locking", 0o2745)
    expect_taken(p.run("--", program, **AS_NOBODY))


def test_setuid_without_new_privileges(p):
    need_root_and_set_id(p)
    program = p.copy(p.program, "program-4755", 0o4755)

    def no_new_privileges():
        pr_set_no_new_privs = 38
        if ctypes.CDLL(None).prctl(pr_set_no_new_privs, 1, 0, 0, 0) != 0:
            os._exit(98)

    expect_taken(p.run("--", program, preexec_fn=no_new_privileges, **AS_NOBODY))


def test_file_capabilities(p):
    need_root_and_set_id(p)
    program = p.copy(p.program, "program-capable")
    revision_2_effective, cap_net_raw = 0x02000001, 1 << 13
    words = (revision_2_effective, cap_net_raw, 0, 0, 0)
    value = b"".join(word.to_bytes(4, "little") for word in words)
    try:
        os.setxattr(program, "security.capability", value)
    except OSError as error:
        raise Skip(f"cannot set file capabilities: {error.strerror}") from None
    expect_obstacle(p.run("--", program, **AS_NOBODY), "has file capabilities", program)
    expect_taken(p.run("--", program))


def test_setuid_of_the_system(p):
    """For those who are not root: su(1) is setuid on any machine."""
    su = shutil.which("su")
    if os.geteuid() == 0 or su is None or not os.stat(su).st_mode & stat.S_ISUID:
        raise Skip("root, or no setuid su(1)")
    done = p.run("--", "su", "--version")
    expect(done, err=f"hakmem: warning: {su} is setuid: it runs without hakmem\n")


def test_unreadable_program(p):
    need_root_and_set_id(p)
    program = p.copy(p.program, "program-unreadable", 0o711)
    expect_taken(p.run("--", program, **AS_NOBODY))


# --- hostile files --------------------------------------------------------------------------------


def expect_survives(p, path, statuses=(126,)):
    """The file is not executable, so any other status is the command's own doing."""
    done = p.run("--", path)
    assert done.returncode in statuses, f"{path.name}: {done.returncode} {done.stderr!r}"


def test_truncated_elf(p):
    image = p.program.read_bytes()
    for length in [*range(0, 300), *range(300, len(image), 997)]:
        expect_survives(p, p.write("truncated", image[:length], 0o644))


def test_hostile_elf_headers(p):
    image = p.program.read_bytes()[:1024]
    fields = {"e_phoff": (32, 8), "e_phentsize": (54, 2), "e_phnum": (56, 2), "e_type": (16, 2),
              "EI_CLASS": (4, 1), "EI_DATA": (5, 1)}
    for offset, size in fields.values():
        top = (1 << 8 * size) - 1
        for value in (0, 1, 2, 3, 57, top // 2, top // 2 + 1, top - 63, top):
            changed = bytearray(image)
            changed[offset:offset + size] = (value & top).to_bytes(size, "little")
            expect_survives(p, p.write("hostile", bytes(changed), 0o644))


def test_broken_elf_is_not_called_static(p):
    """--strict would refuse it with 125; the kernel's own refusal is 126."""
    image = bytearray(p.program.read_bytes())
    image[56:58] = bytes(2)  # e_phnum
    for broken in (bytes(image), bytes(image[:70]), bytes(image[:20])):
        done = p.run("--strict", "--", p.write("broken", broken, 0o644))
        expect(done, 126, out="")


def test_random_elf(p):
    seed = 42
    generator = random.Random(seed)
    image = p.program.read_bytes()[:2048]
    for number in range(300):
        changed = bytearray(image)
        for _ in range(generator.randint(1, 40)):
            changed[generator.randrange(4, 120)] = generator.randrange(256)
        path = p.write("random", bytes(changed), 0o644)
        try:
            expect_survives(p, path)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, file {number}: {error}") from None


def test_hostile_scripts(p):
    loop = p.path("loop")
    env = "#!/usr/bin/env"
    lines = [f"#!{loop}", "#!", "#! ", "#!\0", "#!" + "a" * 600, "#!" + " " * 300, env, f"{env} -S",
             f"{env} " + "-S" * 200, f"{env} -S" + " -S" * 60, f"{env} -S " + "A=1 " * 55,
             f"{env} -S '", f"{env} --no-such x", f"{env} -u", f"{env} A=1 -u",
             f"{env} -S env -S env -S env -S env sh"]
    for line in lines:
        expect_survives(p, p.write("loop", line + "\n", 0o644))
    p.write("loop", f"#!{loop}\n")
    expect(p.run("--", loop), 126, out="")  # ELOOP, by the kernel


def test_many_env_words(p):
    words = ["env"] + [f"A{i}=1" for i in range(500)]
    expect(p.run("--", *words, "sh", "-c", "exit 9"), 9)
    nested = ["env", "A=1"] * 40
    expect(p.run("--", *nested, "sh", "-c", "exit 9"), 9)


def test_odd_env_options(p):
    for words in (["-S"], ["-S", ""], ["-S", " "], ["-S", "x" * 5000], ["-S", "-u"], ["-u"], ["-C"],
                  ["A=1", "-S"], ["-S", "A=1", "-S"], ["--", "-S", "true"], ["--"], ["-"], [""],
                  ["--no-such"], ["PATH=", "true"], ["PATH=" + "x:" * 5000, "true"]):
        theirs = subprocess.run(["env", *words], capture_output=True, env=p.environment())
        ours = p.run("--", "env", *words)
        assert ours.returncode == theirs.returncode, (words, ours, theirs)


def test_special_files(p):
    fifo = p.path("fifo")
    os.mkfifo(fifo, 0o755)
    expect_survives(p, fifo)
    expect_survives(p, Path("/dev/null"))


# --- the command itself ---------------------------------------------------------------------------


def test_version(p):
    done = p.call("--version")
    expect(done, err="")
    assert re.match(r"hakmem \d+\.\d+\.\d+\nlibrary \S.*\n\Z", done.stdout), done.stdout


def test_help(p):
    for arguments in (("--help",), ("-h",), ("run", "--help"), ("run", "-h")):
        done = p.call(*arguments)
        expect(done, err="")
        assert done.stdout.startswith("usage: hakmem "), done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 100, done.stdout


def test_unknown_verb(p):
    for arguments in ((), ("no-such-verb",), ("--no-such",)):
        done = p.call(*arguments)
        expect(done, 2, out="")
        assert "usage: hakmem" in done.stderr, done.stderr


def test_full_disk(p):
    with open("/dev/full", "wb") as full:
        for arguments in (("--version",), ("--help",), ("run", "--help")):
            done = p.call(*arguments, stdout=full)
            assert done.returncode == 1, (arguments, done.returncode)


@contextlib.contextmanager
def fresh_place():
    with tempfile.TemporaryDirectory(prefix="hakmem-cli-") as directory:
        yield Place(directory)


def main():
    if not os.environ.get("HAKTEST_CLI"):
        sys.exit(__doc__)
    run_tests(globals(), fresh_place)


if __name__ == "__main__":
    main()
