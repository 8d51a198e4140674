# tools/stepping.py — runs a program and steps it between breakpoints. SPDX-License-Identifier: MIT
"""Two tracers with one interface, for programs of this machine and, under qemu, for 64-bit Arm ones:

    resume()      runs to the next breakpoint in the program's own code: True; to its end: False
    step()        executes one instruction; False: it was a breakpoint
    registers()   {name: value} before the next instruction, "pc" among them
    output        the program's standard output
    end()         kills the program
"""
import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SYSROOT_AARCH64 = Path("/usr/aarch64-linux-gnu")


def fail(text):
    sys.exit(f"stepping: {text}")


class Tracer:
    def start(self, command, environment=(), **options):
        """Runs a command, its output to us; settings of ours and preloads do not reach it."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HAKMEM_", "LD_"))}
        self.process = subprocess.Popen(command, env=inherited | dict(environment), text=True,
                                        stdout=subprocess.PIPE, **options)
        self.output = self.process.stdout

    def end(self):
        self.process.kill()


class Native(Tracer):
    """x86-64, by ptrace(2)."""

    FIELDS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax pc cs flags rsp ss "
              "fs_base gs_base ds es fs gs").split()
    TRACEME, CONT, SINGLESTEP, GETREGS, GETSIGINFO = 0, 7, 9, 12, 0x4202
    SI_KERNEL = 0x80  # si_code of int3; a step has TRAP_TRACE

    def __init__(self, program, arguments, preload):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.libc.ptrace.restype = ctypes.c_long
        self.pid = 0
        try:
            self.start([program, *arguments], {"LD_PRELOAD": str(preload)} if preload else {},
                       preexec_fn=lambda: self.ptrace(self.TRACEME))
        except subprocess.SubprocessError:
            fail("ptrace is refused here: allow it (kernel.yama.ptrace_scope < 3, and in a container a "
                 "seccomp profile with ptrace, as docker has it from kernel 4.8 on)")
        self.pid = self.process.pid
        os.waitpid(self.pid, 0)  # stopped at its first instruction

    def ptrace(self, request, data=None):
        if self.libc.ptrace(request, self.pid, None, data) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def wait(self):
        """True: stopped by a breakpoint; False: by a step; None: ended."""
        status = os.waitpid(self.pid, 0)[1]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return None
        if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != signal.SIGTRAP:
            fail(f"the program died in a warm call: status {status:#x}")
        info = ctypes.create_string_buffer(128)
        self.ptrace(self.GETSIGINFO, info)
        return struct.unpack_from("iii", info)[2] == self.SI_KERNEL

    def resume(self):
        self.ptrace(self.CONT)
        return self.wait() is not None

    def step(self):
        self.ptrace(self.SINGLESTEP)
        return not self.wait()

    def registers(self):
        values = (ctypes.c_uint64 * len(self.FIELDS))()
        self.ptrace(self.GETREGS, values)
        return dict(zip(self.FIELDS, values))


class Emulated(Tracer):
    """64-bit Arm, by qemu's user mode and its stub for gdb: packets `$text#checksum`, each acknowledged."""

    BRK = "000020d4"  # brk #0, as it lies in memory
    START_S = 20      # seconds for qemu to listen

    def __init__(self, program, arguments, preload):
        qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
        if not qemu:
            fail("no qemu-aarch64-static")
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "gdb")
        variables = ["-E", f"LD_PRELOAD={preload}"] if preload else []
        self.start([qemu, "-L", SYSROOT_AARCH64, "-g", path, *variables, program, *arguments])
        self.socket = socket.socket(socket.AF_UNIX)
        self.connect(path)
        self.stream = self.socket.makefile("rwb", 0)
        self.at_breakpoint = False

    def connect(self, path):
        for _ in range(10 * self.START_S):
            try:
                return self.socket.connect(str(path))
            except OSError:
                time.sleep(0.1)
        self.process.kill()
        fail("qemu does not listen")

    def ask(self, text):
        self.stream.write(f"${text}#{sum(text.encode()) % 256:02x}".encode())
        while (byte := self.stream.read(1)) != b"$":  # the acknowledgement, and nothing else
            if byte == b"":
                fail("qemu has gone")
        answer = b""
        while not answer.endswith(b"#"):
            answer += self.stream.read(1)
        self.stream.read(2)
        self.stream.write(b"+")
        return answer[:-1].decode()

    def run(self, how):
        """A breakpoint raises SIGTRAP and stays the next instruction: it is stepped over here."""
        after = f"{self.registers()['pc'] + 4:x}" if self.at_breakpoint else ""
        self.at_breakpoint = False
        answer = self.ask(how + after)
        if answer.startswith("W00"):
            return False
        if not answer.startswith("T05"):
            fail(f"the program died in a warm call: {answer}")
        return True

    def resume(self):
        is_running = self.run("c")
        self.at_breakpoint = is_running
        return is_running

    def step(self):
        self.run("s")
        self.at_breakpoint = self.ask(f"m{self.registers()['pc']:x},4") == self.BRK
        return not self.at_breakpoint

    def registers(self):
        values = struct.unpack_from("<33Q", bytes.fromhex(self.ask("g")[:33 * 16]))
        return dict(zip([f"x{i}" for i in range(31)] + ["sp", "pc"], values))


def tracer(machine, program, arguments, preload):
    return {"x86_64": Native, "aarch64": Emulated}[machine](program, arguments, preload)
