#!/usr/bin/env python3
# test/cli/test_bench_html.py — the page of `hakmem bench --html`. SPDX-License-Identifier: MIT
"""usage: HAKTEST_CLI=build/hakmem [CC=cc] test_bench_html.py [NAME]...

Goal: the page is one file that loads nothing, says what the JSON says, can be read where no script runs, draws all
its plots without an error where one does, and takes hostile names for text.
Method: a report of dummy runs; the page parsed by Python, then opened in headless Chromium: with scripts, without,
and as a picture, in which the first allocator's colour must be seen.
"""
import contextlib
import hashlib
import html.parser
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from runner import Skip, run as run_tests

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
CLI = os.environ.get("HAKTEST_CLI", "")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "</script><script>document.documentElement.dataset.hacked = 1</script>&amp;\"'"
OWN_LIGHT = (0x0A, 0x58, 0xCA)  # --own of bench_page.css
OWN_DARK = (0x6E, 0xA8, 0xFE)


class Page(html.parser.HTMLParser):
    """Text by element, and whether all that is opened is closed."""
    VOID = {"meta", "link", "br"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.references, self.cells, self.scripts, self.text = [], [], [], [], ""
        self.attributes = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))
        self.references += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> within {self.open}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.text += data
            if "td" in self.open or "th" in self.open:
                self.cells[-1] += data


class Place:
    """One report, made once for all tests."""

    def __init__(self, directory):
        self.root = Path(directory)
        self.page = self.root / "page.html"
        subprocess.run([*os.environ.get("CC", "cc").split(), "-O1", HERE / "bench_probe.c", "-o",
                        self.root / "probe"], check=True)
        (self.root / "workloads.txt").write_text(
            f"one | test | floor latency | probe @/log 8 120 | {HOSTILE}\n"
            "two | test | timed | probe @/log 0 80 | has a curve, no latency\n"
            "size-1e1 | scaling | timed | probe @/log 0 40 | x\n"
            "size-2k | scaling | timed | probe @/log 0 40 | x\n"
            "bad | test | - | false | fails\n")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HAKMEM_", "LD_"))}
        done = subprocess.run([CLI, "bench", "--allocators", "first=sys,second=sys,third=sys,floor",
                               "--rounds", "2", "--latency", "1", "--interval", "5", "--html", self.page,
                               "--json", self.root / "report.json", "-o", self.root / "table", "test",
                               "scaling"],
                              env={**env, "HAKMEM_BENCH_DIR": str(self.root)}, check=False)
        assert done.returncode == 1, done.returncode  # `bad` has failed
        self.report = json.loads((self.root / "report.json").read_text())

    def chromium(self, *arguments, page=None, fragment="#all"):
        """What it prints, and its console's lines."""
        if CHROMIUM is None:
            raise Skip("no chromium")
        with tempfile.TemporaryDirectory(prefix="hakmem-chromium-") as profile:
            done = subprocess.run(
                [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--enable-logging=stderr",
                 "--hide-scrollbars", "--virtual-time-budget=10000", *arguments,
                 f"file://{page or self.page}{fragment}"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=True)
        return done.stdout, re.findall(r".*CONSOLE.*", done.stderr)


def test_tables(p):
    """All rows and verdicts are in the page's own text."""
    page = Page(p.page.read_text())
    text = re.sub(r"\s+", " ", page.text)
    assert [row["workload"] for row in p.report["rows"]] == ["one", "two", "size-1e1", "size-2k", "bad"]
    for row in p.report["rows"]:
        assert row["workload"] in text and row["summary"] in text, row["summary"]
        for cell in row["allocators"]:
            if cell["failures"]:
                assert f"failed: {cell['failures']} of {cell['runs']} runs: {cell['failure']}" in text
    ratios = [f"{cell['ratio']['median']:.3f}" for row in p.report["rows"] for cell in row["allocators"]
              if cell.get("ratio")]
    assert len(ratios) == 8 and all(ratio in page.cells for ratio in ratios), (ratios, page.cells)
    assert page.cells.count("few") == 8, page.cells
    for word in ("first ÷ second", "20.0 ns", "of the time is the allocator's", "peak RSS"):
        assert word in text, (word, text)


def test_self_contained(p):
    text = p.page.read_text()
    page = Page(text)
    assert page.references == ["data:,"], page.references
    assert all("src" not in attributes for tag, attributes in page.attributes if tag == "script")
    assert not any(name.startswith("on") for _, attributes in page.attributes for name in attributes)
    assert "default-src 'none'" in text and "@import" not in text and "url(" not in text


def test_data(p):
    """The JSON in the page is the report's, to six digits, and hostile text stays text in it."""
    page = Page(p.page.read_text())
    assert len(page.scripts) == 3, len(page.scripts)
    data = json.loads(page.scripts[0])
    assert data["rows"][0]["summary"] == HOSTILE

    def near(a, b):
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
        if isinstance(a, list):
            return len(a) == len(b) and all(map(near, a, b))
        return abs(a - b) <= 1e-5 * abs(b) if isinstance(a, float) else a == b

    assert near(data, p.report)


def test_vendored(p):
    """The library is the one whose sums are written down, unchanged, and in the page."""
    folder = TREE / "third_party" / "uplot"
    sums = dict(re.findall(r"`dist/(\S+)` \| `([0-9a-f]{64})`", (folder / "README.md").read_text()))
    assert sorted(sums) == sorted(f.name for f in folder.glob("uPlot*")) and len(sums) == 2, sums
    for name, expected in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected, name
        assert (folder / name).read_text().strip() in p.page.read_text(), name
    assert (folder / "LICENSE").read_text() in p.page.read_text()


def test_drawn(p):
    dom, console = p.chromium("--dump-dom")
    assert console == [], console
    root = re.search(r"<html[^>]*>", dom)[0]
    # Ratios, scatter, how cost grows; for each that did not fail a curve, for `one` latencies.
    assert 'data-charts="8"' in root and 'data-plots="8"' in root, root
    assert "data-error" not in root and "data-hacked" not in root, root
    assert dom.count("<canvas") == 8, dom.count("<canvas")
    assert dom.count("<figure") == 8  # places without data are gone


def test_drawn_when_seen(p):
    """Without #all what lies far below is not drawn yet."""
    dom, console = p.chromium("--dump-dom", "--window-size=1200,300", fragment="")
    root = re.search(r"<html[^>]*>", dom)[0]
    plots = int(re.search(r'data-plots="(\d+)"', root)[1])
    assert console == [] and 0 < plots < 8, (console, root)


def pixels(png):
    """Of an 8-bit picture without interlacing, as triples (PNG specification, 9.2)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert depth == 8 and kind in (2, 6), (depth, kind)
    size, at, packed = 3 if kind == 2 else 4, 8, b""
    while at < len(png):
        length, = struct.unpack(">I", png[at:at + 4])
        if png[at + 4:at + 8] == b"IDAT":
            packed += png[at + 8:at + 8 + length]
        at += length + 12
    raw, above, stride = zlib.decompress(packed), None, width * size
    for y in range(height):
        line = bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        above = above or bytearray(stride)
        how = raw[y * (stride + 1)]
        for i in range(stride if how else 0):
            a, b, c = (line[i - size], above[i], above[i - size]) if i >= size else (0, above[i], 0)
            if how == 4:
                near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            line[i] = line[i] + (0, a, b, (a + b) // 2, near if how == 4 else 0)[how] & 255
        for x in range(0, stride, size):
            yield tuple(line[x:x + 3])
        above = line


def test_seen(p):
    """The picture has the first allocator's colour, in the light and in the dark scheme."""
    picture = p.root / "picture.png"
    for scheme, colour in (("1", OWN_LIGHT), ("0", OWN_DARK)):
        _, console = p.chromium(f"--screenshot={picture}", "--window-size=900,1500",
                                f"--blink-settings=preferredColorScheme={scheme}")
        found = sum(1 for pixel in pixels(picture.read_bytes()) if pixel == colour)
        # Its swatches alone have 100 each; the mark in the scatter is larger.
        assert console == [] and found > 200, (scheme, console, found)


def test_without_script(p):
    """Where no script may run the tables are all there, and the places for plots take no room."""
    plain = p.root / "plain.html"
    plain.write_text(p.page.read_text().replace("script-src 'unsafe-inline'", "script-src 'none'"))
    dom, _ = p.chromium("--dump-dom", page=plain)
    root = re.search(r"<html[^>]*>", dom)[0]
    assert root == '<html lang="en">' and "<canvas" not in dom, root
    assert Page(dom).cells == Page(p.page.read_text()).cells
    picture = p.root / "picture.png"
    p.chromium(f"--screenshot={picture}", "--window-size=900,1400",
               "--blink-settings=preferredColorScheme=1", page=plain)
    found = sum(1 for pixel in pixels(picture.read_bytes()) if pixel == OWN_LIGHT)
    assert found >= 160, found  # two tables' swatches at least are in the window


def main():
    if not CLI:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="hakmem-bench-") as directory:
        place = Place(directory)
        run_tests(globals(), lambda: contextlib.nullcontext(place))


if __name__ == "__main__":
    main()
