# tools/machine_code.py — what one disassembled instruction does to memory. SPDX-License-Identifier: MIT
"""For each machine: the text of an instruction, as objdump prints it, and the registers before it, give

    is_counted, is_conditional, is_atomic, loads, stores     what fast_path.py counts
    stored_to                                                addresses of its stores, where known
    listed(following, name_of, base, pages)                  its line in a golden file: `following` is
        where the path goes on, name_of(address) a variable's name or None, base where the file is loaded,
        pages the registers that hold a page's address, a set which it keeps

A pair of registers (ldp, stp) is one load or store, as push and pop are; call and ret are none.
"""
import re


class Instruction:
    loads = stores = 0

    def __init__(self, text, values):
        self.text, self.values = text, values
        self.stored_to = []


class X86(Instruction):
    PREFIXES = {"lock", "rep", "repz", "repnz", "notrack", "bnd", "data16", "cs", "ds"}
    MEMORY = re.compile(r"(%[fg]s:)?(-?0x[0-9a-f]+|-?\d+)?\(([^)]*)\)|%[fg]s:0x[0-9a-f]+")
    FIRST_ARGUMENT, RESULT = "rdi", "rax"

    def __init__(self, text, values):
        super().__init__(text, values)
        words = text.split("#")[0].split("<")[0].split()
        is_locked = "lock" in words[:2]
        while len(words) > 1 and words[0] in self.PREFIXES:
            words.pop(0)
        self.name = words[0]
        self.operands = re.split(r",(?![^(]*\))", "".join(words[1:])) if words[1:] else []
        self.is_counted = self.name != "endbr64"
        self.is_conditional = self.name.startswith("j") and not self.name.startswith("jmp")
        self.is_atomic = is_locked or (self.name.startswith("xchg") and self.memory_at() is not None)
        self.find_effects()

    def memory_at(self):
        """Index of the memory operand, or None; jumps and address arithmetic have none."""
        if re.match(r"j|call|lea|nop|endbr", self.name):
            return None
        return next((i for i, o in enumerate(self.operands) if self.MEMORY.fullmatch(o)), None)

    def address(self, operand):
        """The effective address; None for rip-relative and segment-based operands."""
        match = self.MEMORY.fullmatch(operand)
        if match[1] or match[3] is None or "rip" in match[3]:
            return None
        base, index, scale = (match[3].replace("%", "").split(",") + ["", ""])[:3]
        value = lambda name: self.values[name] if name in self.values else 0
        return (int(match[2] or "0", 0) + value(base) + value(index) * int(scale or 1)) % 2**64

    def find_effects(self):
        at = self.memory_at()
        if self.name.startswith("push"):
            self.loads, self.stores = int(at is not None), 1
            self.stored_to = [self.values["rsp"] - 8]
        elif self.name.startswith("pop") and self.name != "popcnt":
            self.loads = 1
        elif self.name.startswith("stos"):
            self.stores, self.stored_to = 1, [self.values["rdi"]]
        elif at is None:
            return
        elif at != len(self.operands) - 1 or re.match(
                r"cmp(?!xchg)|test|bt[bwlq]?$|prefetch|i?mul|i?div", self.name):
            self.loads = int(not self.name.startswith("prefetch"))
            self.stores = int(self.name.startswith("xchg"))
            self.stored_to = [self.address(self.operands[at])] * self.stores
        else:
            self.loads = int(re.match(r"(v?mov|set)", self.name) is None)
            self.stores, self.stored_to = 1, [self.address(self.operands[at])]

    def listed(self, following, name_of, base, _pages):
        if match := re.match(r"((?:\w+ )?j\w+) ([0-9a-f]+)", self.text):
            return f"{match[1]} {'on' if int(match[2], 16) == following else 'off'}"
        if match := re.match(r"(.*?)-?0x[0-9a-f]+\(%rip\)(.*?) # ([0-9a-f]+)", self.text):
            name = name_of(int(match[3], 16)) or "constant"
            return f"{match[1]}{name}(%rip){match[2]}"
        if match := re.match(r"(call) [0-9a-f]+ <([^>+]*)", self.text):
            return f"{match[1]} {match[2]}"
        return self.text


class Arm64(Instruction):
    FIRST_ARGUMENT, RESULT = "x0", "x0"
    # [base], [base, #8], [base, #8]!, [base], #8, [base, x1, lsl #3], [base, w1, uxtw #3]
    MEMORY = re.compile(r"\[(\w+)(?:, (?:#(-?\w+)|([xw]\d+)(?:, (\w+)(?: #(\d+))?)?))?\](!?)(.*)")
    ATOMIC = re.compile(r"st[l]?xr|st[l]?xp|cas|swp|ld(add|clr|eor|set|smax|smin|umax|umin)")

    def __init__(self, text, values):
        text = re.sub(r"\s+//.*", "", text)
        super().__init__(text, values)
        self.name, _, self.operands = text.partition(" ")
        self.is_counted = self.name != "bti"
        self.is_conditional = re.match(r"b\.|cbn?z|tbn?z", self.name) is not None
        self.is_atomic = self.ATOMIC.match(self.name) is not None
        self.memory = self.MEMORY.search(self.operands)
        is_exchange = self.is_atomic and not self.name.startswith("st")
        self.loads = int(self.name.startswith("ld") or is_exchange)
        self.stores = int(self.name.startswith("st") or is_exchange)
        self.stored_to = [self.address()] if self.stores else []

    def value(self, register):
        value = self.values["x" + register[1:]] if register[0] in "xw" else self.values[register]
        return value % 2**32 if register[0] == "w" else value

    def address(self):
        """The effective address; after the access a base may change (`[base], #8`)."""
        base, immediate, index, extension, shift = self.memory.groups()[:5]
        offset = int(immediate or "0", 0)
        if index:
            offset = self.value(index)
            if extension == "sxtw":
                offset -= (offset & 1 << 31) << 1
            offset <<= int(shift or 0)
        return (self.value(base) + offset) % 2**64

    def listed(self, following, name_of, base, pages):
        """A page, and what is added to it, change with each link: they become names."""
        def with_name(before, register, offset, after=""):
            name = name_of(self.value(register) + offset - base) if register in pages else None
            return f"{before}, {name}{after}" if name else self.text

        line = self.text
        if match := re.match(r"(b\.\w+|b|cbn?z \w+,|tbn?z \w+, \S+,) ([0-9a-f]+)", self.text):
            line = f"{match[1]} {'on' if int(match[2], 16) == following else 'off'}"
        elif match := re.match(r"(bl) [0-9a-f]+ <([^>+]*)", self.text):
            line = f"{match[1]} {match[2]}"
        elif match := re.match(r"(add \w+, (\w+)), #(0x[0-9a-f]+)$", self.text):
            line = with_name(match[1], match[2], int(match[3], 0))
        elif self.memory and self.memory[2] and not self.memory[6]:
            before = f"{self.name} {self.operands[:self.memory.start()]}[{self.memory[1]}"
            line = with_name(before, self.memory[1], int(self.memory[2], 0), "]")
        written = self.operands.split("[")[0].replace(",", " ").split()
        pages -= {"x" + w[1:] for w in written}
        if match := re.match(r"adrp (\w+),", self.text):
            pages.add(match[1])
            line = f"{match[0]} page"
        return line


MACHINES = {"x86_64": X86, "aarch64": Arm64}
