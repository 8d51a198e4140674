#!/usr/bin/env python3
# tools/size_classes.py — prints src/slab/size_classes.inc. SPDX-License-Identifier: MIT
"""Makes the table of size classes and proves its properties before printing it.

    tools/size_classes.py [--direct-max BYTES] > src/slab/size_classes.inc

Classes are multiples of 16 bytes up to --direct-max, then 8 per doubling up to 64 KiB, so above 128
bytes a request wastes at most 12.5 % of its block. A slab has as few units as leave at
most 6 % of it as tail and hold at least 8 blocks. docs/decisions/e2-size-classes.md chose the
default, e9-mid.md the end.
"""

import argparse
import sys

UNIT = 64 * 1024
MID_MAX = 64 * 1024
TINY_MAX = 1024
STEPS = 8
UNITS_MAX = 16
BLOCKS_MIN = 8
TAIL_MAX = 0.06
START_BITS = 40


def class_sizes(direct_max):
    sizes = list(range(16, direct_max + 1, 16))
    base = direct_max
    while base < MID_MAX:
        sizes += [base + base // STEPS * k for k in range(1, STEPS + 1)]
        base *= 2
    return sizes


def slab_shape(size):
    for units in range(1, UNITS_MAX + 1):
        blocks = units * UNIT // size
        tail = units * UNIT - blocks * size
        if blocks >= BLOCKS_MIN and tail <= TAIL_MAX * units * UNIT:
            return units, blocks
    sys.exit(f"no slab shape for {size}")


def reciprocal(size, blocks):
    """A number whose product with a byte offset in the slab says all about it: the upper 64 bits are the
    block, the lower ones are below 2^40 exactly where one of the slab's blocks starts.

    With excess = value * size - 2^64, offset = block * size + rest gives block * excess + rest * value as
    lower part: the excess is made just large enough that the end of the last block is 2^40 or more."""
    value = -(-((1 << 64) + -(-(1 << START_BITS) // blocks)) // size)
    # The lower part grows with the offset inside a block: these three stand for all others.
    for block in range(blocks + 1):
        start = block * size * value
        assert start >> 64 == block
        assert (start % (1 << 64) < 1 << START_BITS) == (block < blocks), (size, block)
        assert (start + value) % (1 << 64) >= 1 << START_BITS, (size, block)
        assert start + (size - 1) * value >> 64 == block, (size, block)
    return value


def class_of(sizes, size):
    return next(i for i, s in enumerate(sizes, start=1) if s >= size)


def print_table(name, values, per_line=16):
    print(f"#ifdef {name}")
    for i in range(0, len(values), per_line):
        print("    " + ", ".join(str(v) for v in values[i:i + per_line]) + ",")
    print("#endif")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--direct-max", type=int, default=256)
    direct_max = parser.parse_args().direct_max
    sizes = class_sizes(direct_max)
    assert sizes[-1] == MID_MAX and len(sizes) < 128, "11 bits of a tag hold 127 classes × 16"
    print("/* src/slab/size_classes.inc — made by tools/size_classes.py: edit there. "
          "SPDX-License-Identifier: MIT */\n")
    print("#ifdef HAK_SIZE_CLASS_CONSTANTS")
    print(f"#define HAK_CLASS_COUNT {len(sizes) + 1}u /* class 0 is never a block's */")
    print(f"#define HAK_DIRECT_MAX {direct_max}u /* up to here class × 16 is the block's size */")
    print(f"#define HAK_TINY_MAX {TINY_MAX}u")
    print(f"#define HAK_MID_MAX {MID_MAX}u")
    print(f"#define HAK_RECIPROCAL_START_BITS {START_BITS}u")
    print("#endif\n")
    print("/* HAK_SIZE_CLASS(block bytes, units per slab, blocks per slab, 2^64 / bytes and a little more) */")
    print("#ifdef HAK_SIZE_CLASS")
    for size in sizes:
        units, blocks = slab_shape(size)
        print(f"HAK_SIZE_CLASS({size}, {units}, {blocks}, {reciprocal(size, blocks)})")
    print("#endif\n")
    print("/* Class × 16 of every size up to 1 KiB. */")
    print_table("HAK_SIZE_CLASS_TINY_MAP",
                [0] + [16 * class_of(sizes, size) for size in range(1, TINY_MAX + 1)])
    print("\n/* Class × 16 of a size above 1 KiB, indexed by ceil(size / 128). */")
    print_table("HAK_SIZE_CLASS_MID_MAP",
                [0] + [16 * class_of(sizes, 128 * k) for k in range(1, MID_MAX // 128 + 1)])


if __name__ == "__main__":
    main()
