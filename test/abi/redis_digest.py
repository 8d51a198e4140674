#!/usr/bin/env python3
# test/abi/redis_digest.py — the digest of a redis-server's fixed life. SPDX-License-Identifier: MIT
"""Starts redis-server in the current directory, sends it fixed commands, prints what must not vary.

stdout: the number of keys, a hash of all replies, and DEBUG DIGEST (a checksum of the whole data
set that does not depend on its order), before and after a save and reload. stderr: what may vary.

Which allocator serves redis? Debian links it to libjemalloc dynamically, and its INFO names
jemalloc because that is compiled in; a preloaded malloc takes the calls all the same. So with
LD_PRELOAD set this program also demands that the library is mapped in the server, that its exit
report shows the memory, and that jemalloc's own count shows next to nothing of what redis says it
uses; without LD_PRELOAD it demands the opposite of jemalloc, if that is what redis is linked to.
"""
import hashlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

SOCKET = "redis.sock"
START_TIMEOUT_S = 60
BYTES_SERVED_MIN = 8 << 20


class Client:
    """As much of the RESP protocol as the script needs."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(300)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def send(self, commands):
        """Pipelines the commands; their replies in order."""
        encoded = []
        for command in commands:
            parts = [str(part).encode() for part in command]
            encoded.append(b"*%d\r\n" % len(parts))
            encoded.extend(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(b"".join(encoded))
        return [self.reply() for _ in commands]

    def call(self, *command):
        return self.send([command])[0]

    def reply(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("redis-server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind in b"+-:":
            return kind + rest
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2]
        return [self.reply() for _ in range(int(rest))]


def commands():
    """About 60,000 commands on every data type, with values of 1 byte to 300 KB."""
    for i in range(12000):
        n = i * 7919 % 10007
        yield "SET", f"s:{n}", "v" * (n % 700) + str(i)
        yield "APPEND", f"s:{n % 300}", str(i) * (i % 30)
        yield "HSET", f"h:{n % 500}", f"f{i % 211}", "x" * (i % 90)
        yield "RPUSH", f"l:{n % 100}", f"item {i}", "y" * (i % 150)
        yield "ZADD", f"z:{n % 50}", n % 997, f"m{i % 2003}"
        if i % 3 == 0:
            yield "SADD", f"u:{n % 70}", n, f"t{n}", i
        if i % 5 == 0:
            yield "DEL", f"s:{(n * 3) % 10007}"
            yield "LTRIM", f"l:{n % 100}", 0, 400
        if i % 7 == 0:
            yield "LRANGE", f"l:{i % 100}", 0, 20
            yield "ZRANGE", f"z:{i % 50}", 0, 30
        if i % 400 == 0:
            yield "SETRANGE", f"big:{i % 1200}", i * 25, "z" * 1000
            yield "XADD", f"x:{i % 3}", f"{i + 1}-1", "field", "w" * i
    yield "EVAL", ("local s = 0 for i = 1, 2000 do redis.call('SET', 'e:' .. i, ('q'):rep(i % 99)) "
                   "s = s + #redis.call('GET', 'e:' .. i) end return s"), 0
    yield "SORT", "u:3", "ALPHA"
    yield "ZUNIONSTORE", "z:all", 3, "z:1", "z:2", "z:3"
    yield "SUNIONSTORE", "u:all", "u:1", "u:2", "u:3"


def start_server(preloaded):
    environment = dict(os.environ)
    if preloaded:
        environment["HAKMEM_REPORT"] = "1"
    with open("server.out", "wb") as out, open("server.err", "wb") as err:
        return subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", SOCKET, "--save", "", "--appendonly",
             "no", "--enable-debug-command", "yes", "--daemonize", "no", "--dir", "."],
            env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)


def connect(server):
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            return Client(SOCKET)
        except OSError:
            time.sleep(0.02)
    sys.exit(f"redis-server did not start: {Path('server.out').read_text(errors='replace')[-500:]}")


def memory_facts(client, pid):
    info = client.call("INFO", "memory").decode()
    facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {"compiled for": facts.get("mem_allocator"), "redis uses": int(facts["used_memory"]),
            "jemalloc counts": int(facts.get("allocator_allocated", 0)),
            "libjemalloc mapped": "libjemalloc" in maps,
            "library mapped": "libhakmem" in maps}


def check_who_serves(preloaded, facts, report):
    """Dies with a reason unless the expected allocator served the process."""
    print(f"preloaded {preloaded}: {facts}", file=sys.stderr)
    if facts["library mapped"] != preloaded:
        sys.exit(f"library mapped: {facts['library mapped']}, preloaded: {preloaded}")
    links_jemalloc = facts["libjemalloc mapped"]
    # allocator_allocated comes from jemalloc if redis was compiled for it, else from redis itself.
    if links_jemalloc and (facts["jemalloc counts"] > facts["redis uses"] // 4) == preloaded:
        sys.exit("jemalloc's count does not fit: who serves redis?")
    if preloaded:
        total = re.search(r"^hakmem: ledger total ([0-9]+)$", report, re.MULTILINE)
        cells = re.findall(r"^hakmem: ledger mprotect \S+ [0-9]+ ([0-9]+)$", report,
                           re.MULTILINE)
        served = sum(map(int, cells))
        print(f"ledger: {total and total[1]} calls, {served} bytes", file=sys.stderr)
        if not total or int(total[1]) == 0 or served < BYTES_SERVED_MIN:
            sys.exit(f"the exit report does not show that the library served: {report[-400:]!r}")


def main():
    preloaded = "hakmem" in os.environ.get("LD_PRELOAD", "")
    server = start_server(preloaded)
    try:
        client = connect(server)
        replies = client.send(list(commands()))
        print("keys", client.call("DBSIZE"))
        print("replies", hashlib.sha256(repr(replies).encode()).hexdigest())
        print("digest", client.call("DEBUG", "DIGEST"))
        print("save", client.call("SAVE"), client.call("DEBUG", "RELOAD"))
        print("digest", client.call("DEBUG", "DIGEST"))
        facts = memory_facts(client, server.pid)
        client.socket.sendall(b"SHUTDOWN NOSAVE\r\n")
        print("status", server.wait(timeout=60))
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    check_who_serves(preloaded, facts, Path("server.err").read_text(errors="replace"))


if __name__ == "__main__":
    main()
