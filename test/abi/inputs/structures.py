# test/abi/inputs/structures.py — json, re, sort, threads. SPDX-License-Identifier: MIT
import json, re, zlib, random, collections, hashlib, itertools, threading
random.seed(7)
table = {"key%d" % i: [random.randrange(10**6), str(i) * (i % 40), {"n": i / 7}] for i in range(60000)}
text = json.dumps(table, sort_keys=True)
back = json.loads(text)
assert back == table
print(hashlib.sha256(text.encode()).hexdigest())
words = re.findall(r"[a-z]+[0-9]{3,5}", text)
print(len(words), collections.Counter(w[-1] for w in words).most_common(10))
print(hashlib.sha256("".join(sorted(words, key=lambda w: (w[::-1], len(w)))).encode()).hexdigest())
n = 1
for i in range(1, 3000): n *= i
print(hashlib.sha256(str(n % 10**2000).encode()).hexdigest(), (3**20000 // 7**5000) % 10**30)
print(len(zlib.compress(text.encode(), 6)), zlib.crc32(text.encode()))
sums = [0] * 8
def work(k):
    rows = [(i * 7919 % 1009, "r%d" % i) for i in range(20000)]
    rows.sort()
    sums[k] = sum(len(b) * a for a, b in rows)
threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(sums)
print(sum(1 for p in itertools.permutations("abcdefgh") if p < tuple("dabcefgh")))
try:
    bytearray(1 << 62)
except MemoryError:
    print("MemoryError")
