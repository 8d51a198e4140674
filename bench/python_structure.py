#!/usr/bin/python3
# bench/python_structure.py — a real program: builds and walks a large structure of small objects.
# SPDX-License-Identifier: MIT
"""usage: PYTHONMALLOC=malloc python3 python_structure.py [RECORDS]

With PYTHONMALLOC=malloc every object of the interpreter is a malloc. The structure is what programs
keep: records (dict, list, str, int, tuple) in an index by name and in a binary search tree. Then a
third is replaced, in an order that has nothing to do with that of allocation, and all is walked.
The checksum depends only on RECORDS: no hash of a string and no address enters it.
"""
import sys
import time


class Node:
    """A node of an unbalanced search tree; keys arrive in random order."""

    __slots__ = ("key", "record", "left", "right")

    def __init__(self, key, record):
        self.key = key
        self.record = record
        self.left = None
        self.right = None


def random_keys(count):
    """`count` distinct keys in a fixed shuffled order: a full-period congruential generator."""
    modulus = 1 << 32
    key = 42
    for _ in range(count):
        key = (key * 1664525 + 1013904223) % modulus
        yield key


def make_record(key, generation):
    return {
        "name": f"record-{key:08x}-{generation}",
        "tags": [f"tag{key % 97}", f"tag{key % 101}", f"g{generation}"],
        "where": (key / 3.0, key * 7),
        "text": "x" * (key % 331),
        "generation": generation,
    }


def insert(root, node):
    while True:
        side = "left" if node.key < root.key else "right"
        child = getattr(root, side)
        if child is None:
            setattr(root, side, node)
            return
        root = child


def walk(root):
    """The records in the order of their keys, without recursion."""
    path = []
    node = root
    while path or node is not None:
        while node is not None:
            path.append(node)
            node = node.left
        node = path.pop()
        yield node
        node = node.right


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60000
    if count < 1:
        sys.exit(__doc__)
    begin = time.monotonic()
    index = {}
    root = None
    for key in random_keys(count):
        node = Node(key, make_record(key, 0))
        index[node.record["name"]] = node
        if root is None:
            root = node
        else:
            insert(root, node)
    built = count

    replaced = 0
    for node in list(walk(root)):
        if node.key % 3 == 0:
            del index[node.record["name"]]
            node.record = make_record(node.key, 1)
            index[node.record["name"]] = node
            replaced += 1

    checksum = 0
    walked = 0
    for _ in range(2):
        for node in walk(root):
            record = node.record
            walked += 1
            checksum = (
                checksum * 31
                + len(record["text"])
                + sum(map(len, record["tags"]))
                + record["where"][1]
                + index[record["name"]].key
            ) % (1 << 61)
    seconds = time.monotonic() - begin
    operations = built + replaced + walked
    print(f"operations {operations}")
    print(f"seconds    {seconds:.6f}")
    print(f"ops/s      {operations / seconds:.0f}")
    print(f"checksum   {checksum:016x}")


if __name__ == "__main__":
    main()
