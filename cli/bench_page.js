// cli/bench_page.js — the plots of `hakmem bench --html`; the tables do without. SPDX-License-Identifier: MIT
//
// Reads the JSON in #data (docs/benchmarks.md has its keys). Plots are made when they come near the window, all of
// them for printing and where the address ends with #all, and made anew when the colour scheme changes.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const names = data.allocators.map((a) => a.name);
  const own = names[0];
  const isFloor = (name) => data.allocators.some((a) => a.name === name && a.kind === "floor");
  const peers = names.slice(1).filter((name) => !isFloor(name));
  const dashes = [[], [6, 4], [2, 3], [10, 4], [8, 3, 2, 3], [4, 2], [1, 2], [12, 3, 3, 3]];
  const shapes = ["circle", "square", "triangle", "diamond", "cross", "down", "circle", "square"];
  let drawn = [];
  root.classList.add("js");
  root.dataset.plots = "0";
  addEventListener("error", (event) => { root.dataset.error = event.message; });

  // --- words and colours

  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const colour = (name) => {
    if (name === own) return css("--own");
    if (isFloor(name)) return css("--floor");
    return css(`--p${(peers.indexOf(name) % 7) + 1}`);
  };
  const three = (value) => (value === 0 ? "0" : value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0));
  const unit = (value, units) => {
    for (const [size, word] of units) if (value >= size * 0.9995) return `${three(value / size)} ${word}`;
    const [size, word] = units[units.length - 1];
    return `${three(value / size)} ${word}`;
  };
  const seconds = (s) => unit(s, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]]);
  const bytes = (b) => unit(b, [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]]);
  const short = (text) => text.replace(/\.0+ /, " ");
  const ratio = (r) => r.toFixed(r < 10 ? 2 : 1);
  const geometric = (values) => Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);

  // --- shapes

  function mark(context, shape, x, y, r) {
    context.beginPath();
    if (shape === "square") context.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
    else if (shape === "triangle") { context.moveTo(x, y - r * 1.2); context.lineTo(x + r * 1.1, y + r * 0.8); context.lineTo(x - r * 1.1, y + r * 0.8); }
    else if (shape === "down") { context.moveTo(x, y + r * 1.2); context.lineTo(x + r * 1.1, y - r * 0.8); context.lineTo(x - r * 1.1, y - r * 0.8); }
    else if (shape === "diamond") { context.moveTo(x, y - r * 1.3); context.lineTo(x + r * 1.3, y); context.lineTo(x, y + r * 1.3); context.lineTo(x - r * 1.3, y); }
    else if (shape === "cross") { const a = r * 0.45; context.rect(x - r * 1.1, y - a, r * 2.2, 2 * a); context.rect(x - a, y - r * 1.1, 2 * a, r * 2.2); }
    else context.arc(x, y, r, 0, 2 * Math.PI);
    context.closePath();
    context.fill();
  }
  const shapeOf = (name) => shapes[names.indexOf(name) % shapes.length];

  function line(u, scale, value, stroke, dash) {
    const context = u.ctx;
    const at = u.valToPos(value, scale, true);
    const { left, top, width, height } = u.bbox;
    if (scale === "x" ? at < left || at > left + width : at < top || at > top + height) return;
    context.save();
    context.strokeStyle = stroke;
    context.lineWidth = devicePixelRatio;
    context.setLineDash(dash.map((d) => d * devicePixelRatio));
    context.beginPath();
    if (scale === "x") { context.moveTo(at, top); context.lineTo(at, top + height); }
    else { context.moveTo(left, at); context.lineTo(left + width, at); }
    context.stroke();
    context.restore();
  }

  // --- uPlot, the same everywhere

  const axis = (more) => ({
    stroke: css("--quiet"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 18,
    grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1, size: 4 }, ...more,
  });

  function tip(u, html, left, top) {
    let box = u.over.querySelector(".tip");
    if (!html) { if (box) box.remove(); return; }
    if (!box) {
      box = document.createElement("div");
      box.className = "tip";
      u.over.appendChild(box);
    }
    box.replaceChildren(...html);
    const wide = u.over.clientWidth;
    box.style.left = left > wide / 2 ? "" : `${left + 14}px`;
    box.style.right = left > wide / 2 ? `${wide - left + 14}px` : "";
    box.style.top = `${Math.max(0, top - 10)}px`;
  }
  function row(name, text, strong) {
    const div = document.createElement("div");
    if (name) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colour(name);
      div.appendChild(swatch);
    }
    const words = document.createElement(strong ? "strong" : "span");
    words.textContent = text;
    div.appendChild(words);
    return div;
  }

  function plot(element, height, options, values) {
    const width = element.clientWidth || 560;
    const u = new uPlot({ width, height, legend: { show: false }, cursor: { y: false, points: { show: false }, drag: { setScale: false, x: false } }, ...options }, values, element);
    drawn.push([u, element, height]);
    root.dataset.plots = String(Number(root.dataset.plots) + 1);
    return u;
  }
  const doublings = Array.from({ length: 44 }, (none, i) => 2 ** i);
  const invisible = { paths: () => null, points: { show: false } };
  const powersOf2 = (u, index, low, high) => {
    const found = [];
    const step = Math.log2(high / low) > 3 ? 1 : Math.log2(high / low) > 1.2 ? 0.5 : 0.25;
    for (let e = Math.ceil(Math.log2(low) / step) * step; e <= Math.log2(high) + 1e-9; e += step) found.push(2 ** e);
    return found;
  };
  // Around 1, whatever the values; `least` is the number of doublings to either side.
  const padded = (values, least) => {
    const logs = values.map(Math.log2);
    const low = Math.min(-least, ...logs);
    const high = Math.max(least, ...logs);
    return [2 ** (low - (high - low) * 0.06), 2 ** (high + (high - low) * 0.06)];
  };

  // --- time ÷ peers, with intervals

  function drawRatios(element) {
    const rows = data.rows;
    const cell = (r, peer) => r.allocators.find((c) => c.allocator === peer);
    const of = (r, peer) => { const c = cell(r, peer); return c && c.ratio; };
    const all = rows.flatMap((r) => peers.map((p) => of(r, p)).filter(Boolean).flatMap((x) => [x.low, x.high]));
    const clip = (v) => Math.min(8, Math.max(1 / 8, v));
    const range = padded(all.map(clip), 0.15);
    const values = [rows.map((r, i) => i), ...peers.map((p) => rows.map((r) => { const x = of(r, p); return x ? clip(x.median) : null; }))];
    const step = (u) => (u.bbox.width / rows.length) * 0.7 / Math.max(1, peers.length);
    plot(element, 400, {
      padding: [null, rows.length > 6 ? 60 : null, null, null], // the last name goes on to the right
      scales: { x: { time: false, range: [-0.5, rows.length - 0.5] }, y: { distr: 3, log: 2, range: () => range } },
      series: [{}, ...peers.map((p) => ({ label: p, ...invisible }))],
      axes: [
        axis({ grid: { show: false }, rotate: rows.length > 6 ? -45 : 0, size: rows.length > 6 ? 104 : 34, splits: () => rows.map((r, i) => i), values: () => rows.map((r) => r.workload), space: 1 }),
        axis({ label: `time of ${own} ÷ peer's`, size: 52, splits: powersOf2, values: (u, all2) => all2.map(ratio) }),
      ],
      hooks: {
        draw: [(u) => {
          line(u, "y", 1, css("--quiet"), []);
          line(u, "y", 1.03, css("--lost"), [2, 3]);
          peers.forEach((peer, k) => rows.forEach((r, i) => {
            const x = of(r, peer);
            if (!x) return;
            const at = u.valToPos(i, "x", true) + (k - (peers.length - 1) / 2) * step(u);
            const y = (v) => u.valToPos(clip(v), "y", true);
            const context = u.ctx;
            context.save();
            context.strokeStyle = context.fillStyle = colour(peer);
            context.lineWidth = 2 * devicePixelRatio;
            context.globalAlpha = 0.55;
            context.beginPath();
            context.moveTo(at, y(x.low));
            context.lineTo(at, y(x.high));
            context.stroke();
            context.globalAlpha = 1;
            mark(context, shapeOf(peer), at, y(x.median), 3.2 * devicePixelRatio);
            context.restore();
          }));
        }],
        setCursor: [(u) => {
          const i = u.cursor.idx;
          if (i == null || u.cursor.left < 0) return tip(u, null);
          return tip(u, [row(null, rows[i].workload, true), ...peers.map((p) => {
            const x = of(rows[i], p);
            return row(p, x ? `${p}  ${ratio(x.median)}  [${ratio(x.low)}–${ratio(x.high)}]  ${x.verdict}` : `${p}  –`);
          })], u.cursor.left, u.cursor.top);
        }],
      },
    }, values);
  }

  // --- time against memory: each peer's rows, relative to the first allocator

  function drawScatter(element) {
    const points = [];
    data.rows.forEach((r) => r.allocators.forEach((c) => {
      if (peers.includes(c.allocator) && c.ratio && c.peak_rss_ratio) {
        points.push({ peer: c.allocator, x: 1 / c.peak_rss_ratio.median, y: 1 / c.ratio.median, workload: r.workload });
      }
    }));
    if (points.length === 0) { element.textContent = "no pair of runs"; return; }
    const clip = (v) => Math.min(16, Math.max(1 / 16, v));
    points.sort((a, b) => a.x - b.x);
    const means = peers.map((peer) => {
      const mine = points.filter((p) => p.peer === peer);
      return mine.length ? { peer, x: geometric(mine.map((p) => p.x)), y: geometric(mine.map((p) => p.y)) } : null;
    }).filter(Boolean);
    const xRange = padded(points.map((p) => clip(p.x)), 0.15);
    const yRange = padded(points.map((p) => clip(p.y)), 0.15);
    plot(element, 400, {
      scales: { x: { time: false, distr: 3, log: 2, range: () => xRange }, y: { distr: 3, log: 2, range: () => yRange } },
      series: [{}, { ...invisible }],
      axes: [
        axis({ label: `peak RSS, peer's ÷ ${own}'s`, splits: powersOf2, values: (u, all) => all.map(ratio), size: 36 }),
        axis({ label: `time, peer's ÷ ${own}'s`, splits: powersOf2, values: (u, all) => all.map(ratio), size: 52 }),
      ],
      cursor: { y: true, points: { show: false }, drag: { x: false, setScale: false } },
      hooks: {
        draw: [(u) => {
          line(u, "x", 1, css("--quiet"), []);
          line(u, "y", 1, css("--quiet"), []);
          const put = (p, r, alpha) => {
            u.ctx.save();
            u.ctx.fillStyle = colour(p.peer);
            u.ctx.globalAlpha = alpha;
            mark(u.ctx, shapeOf(p.peer), u.valToPos(clip(p.x), "x", true), u.valToPos(clip(p.y), "y", true), r * devicePixelRatio);
            u.ctx.restore();
          };
          points.forEach((p) => put(p, 3, 0.5));
          means.forEach((p) => put(p, 7, 1));
          u.ctx.save();
          u.ctx.fillStyle = css("--own");
          mark(u.ctx, shapeOf(own), u.valToPos(1, "x", true), u.valToPos(1, "y", true), 7 * devicePixelRatio);
          u.ctx.restore();
        }],
        setCursor: [(u) => {
          const { left, top } = u.cursor;
          const near = points.map((p) => [Math.hypot(u.valToPos(clip(p.x), "x") - left, u.valToPos(clip(p.y), "y") - top), p]).sort((a, b) => a[0] - b[0])[0];
          if (left < 0 || near[0] > 24) return tip(u, null);
          return tip(u, [row(null, near[1].workload, true), row(near[1].peer, `${near[1].peer}  time ${ratio(near[1].y)}, memory ${ratio(near[1].x)}`)], left, top);
        }],
      },
    }, [points.map((p) => p.x), points.map((p) => p.y)]);
  }

  // --- of one workload

  const cellsOf = (index, has) => data.rows[index].allocators.filter(has);
  const series = (cells) => [{}, ...cells.map((c) => ({
    label: c.allocator, stroke: colour(c.allocator), width: c.allocator === own ? 2.5 : 1.5, spanGaps: true,
    dash: dashes[names.indexOf(c.allocator) % dashes.length], points: { show: false },
  }))];
  const follow = (cells, title, show) => [(u) => {
    const i = u.cursor.idx;
    if (i == null || u.cursor.left < 0) return tip(u, null);
    const before = (k) => { for (let j = i; j >= 0; j--) if (u.data[k + 1][j] != null) return u.data[k + 1][j]; return null; };
    return tip(u, [row(null, title(u.data[0][i]), true), ...cells.map((c, k) => {
      const value = before(k);
      return row(c.allocator, `${c.allocator}  ${value == null ? "–" : show(value)}`);
    })], u.cursor.left, u.cursor.top);
  }];

  const hasCurve = (c) => c.rss_over_time.rss_bytes.length > 1;
  function drawMemory(element, index) {
    const cells = cellsOf(index, hasCurve);
    const joined = uPlot.join(cells.map((c) => [c.rss_over_time.rss_bytes.map((b, i) => i * c.rss_over_time.interval_s), c.rss_over_time.rss_bytes]));
    plot(element, 250, {
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, high * 1.06] } },
      series: series(cells),
      axes: [axis({ values: (u, all) => all.map((s) => short(seconds(s))), size: 32 }), axis({ incrs: doublings, values: (u, all) => all.map((b) => short(bytes(b))), size: 72 })],
      hooks: { setCursor: follow(cells, seconds, bytes) },
    }, joined);
  }

  const hasLatency = (c) => c.latency_histogram.length > 1;
  function drawLatency(element, index) {
    const cells = cellsOf(index, hasLatency);
    const joined = uPlot.join(cells.map((c) => {
      const total = c.latency_histogram.reduce((sum, [, count]) => sum + count, 0);
      const xs = [];
      const ys = [];
      let below = 0;
      c.latency_histogram.forEach(([ns, count]) => {
        xs.push(-Math.log10(1 - below / total)); // from this share of all operations on they take `ns` at least
        ys.push(Math.max(ns, 1) * 1e-9);
        below += count;
      });
      xs.push(Math.log10(total) + 0.05);
      ys.push(ys[ys.length - 1]);
      return [xs, ys];
    }));
    const share = (x) => { const p = 100 * (1 - 10 ** -x); return `${p < 99 ? p.toFixed(0) : p.toFixed(Math.max(0, Math.ceil(x) - 2))} %`; };
    const stepped = uPlot.paths.stepped({ align: 1 });
    plot(element, 250, {
      scales: { x: { time: false }, y: { distr: 3, log: 10 } },
      series: series(cells).map((s, i) => (i === 0 ? s : { ...s, paths: stepped })),
      axes: [
        axis({ splits: (u, i, low, high) => [0.30103, 1, 2, 3, 4, 5, 6, 7].filter((x) => x <= high), values: (u, all) => all.map(share), size: 32 }),
        axis({ values: (u, all) => all.map((s) => (s == null || Math.abs(Math.log10(s) % 1) > 1e-6 && Math.abs(Math.log10(s) % 1) < 1 - 1e-6 ? "" : short(seconds(s)))), size: 72 }),
      ],
      hooks: { setCursor: follow(cells, (x) => `${share(x)} of the operations`, seconds) },
    }, joined);
  }

  // --- how cost grows: rows of the group `scaling` whose names differ in the number at their end

  const families = new Map();
  data.rows.forEach((r, index) => {
    const found = r.group === "scaling" && /^(.+)-(\d+(?:e\d+)?)([kmg]?)$/.exec(r.workload);
    if (!found) return;
    const of = families.get(found[1]) || [];
    of.push([Number(found[2]) * { "": 1, k: 1e3, m: 1e6, g: 1e9 }[found[3]], index]);
    families.set(found[1], of.sort((a, b) => a[0] - b[0]));
  });
  const perOperation = (index, name) => {
    const c = data.rows[index].allocators.find((x) => x.allocator === name);
    return c && c.metrics.s_per_operation ? c.metrics.s_per_operation.median : null;
  };
  function drawScaling(element) {
    const points = families.get(element.dataset.family);
    const cells = names.filter((name) => points.some(([, i]) => perOperation(i, name) != null)).map((name) => ({ allocator: name }));
    const base = points[points.length - 1][0] > 4096 ? 10 : 2;
    const count = (x) => (x < 1e4 ? String(x) : x < 1e6 ? `${x / 1e3} k` : x < 1e9 ? `${x / 1e6} M` : `${x / 1e9} G`);
    const first = points[0][0] / 1.25;
    const last = points[points.length - 1][0] * 1.25;
    plot(element, 250, {
      scales: { x: { time: false, distr: 3, log: base, range: () => [first, last] }, y: { range: (u, low, high) => [0, high * 1.1] } },
      series: series(cells).map((s, i) => (i === 0 ? s : { ...s, points: { show: true, size: 6, fill: s.stroke } })),
      axes: [
        axis({ splits: () => points.map(([x]) => x), values: (u, all) => all.map(count), size: 32 }),
        axis({ values: (u, all) => all.map((s) => short(seconds(s))), size: 72 }),
      ],
      hooks: { setCursor: follow(cells, count, seconds) },
    }, [points.map(([x]) => x), ...cells.map((c) => points.map(([, i]) => perOperation(i, c.allocator)))]);
  }
  const place = document.getElementById("scaling");
  families.forEach((points, family) => {
    if (!place || points.length < 2) return;
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const chart = document.createElement("div");
    caption.textContent = `time per operation by ${family}`;
    chart.className = "chart";
    chart.dataset.chart = "scaling";
    chart.dataset.family = family;
    figure.append(caption, chart);
    place.append(figure);
  });

  // --- when

  const kinds = { ratios: drawRatios, scatter: drawScatter, memory: drawMemory, latency: drawLatency, scaling: drawScaling };
  const charts = [...document.querySelectorAll(".chart")].filter((element) => {
    const index = Number(element.dataset.row);
    const kind = element.dataset.chart;
    const has = kind === "scaling" ? 1 : kind === "memory" ? cellsOf(index, hasCurve).length : kind === "latency" ? cellsOf(index, hasLatency).length : peers.length && data.rows.length;
    if (!has) element.closest("figure").remove();
    return has;
  });
  function make(element) {
    if (element.dataset.done) return;
    element.dataset.done = "1";
    kinds[element.dataset.chart](element, Number(element.dataset.row));
  }
  const makeAll = () => charts.forEach(make);
  root.dataset.charts = String(charts.length);
  if (location.hash === "#all" || !("IntersectionObserver" in window)) makeAll();
  else {
    const observer = new IntersectionObserver((entries) => entries.forEach((entry) => {
      if (entry.isIntersecting) { observer.unobserve(entry.target); make(entry.target); }
    }), { rootMargin: "400px" });
    // What is in view already, at once: the observer answers with the next frame, which a hidden page has not.
    const isNear = (element) => element.getBoundingClientRect().top < innerHeight + 400;
    charts.filter(isNear).forEach(make);
    charts.filter((element) => !element.dataset.done).forEach((element) => observer.observe(element));
  }
  addEventListener("beforeprint", makeAll);
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => drawn.forEach(([u, element, height]) => u.setSize({ width: element.clientWidth, height })), 120);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    const again = drawn.map(([u, element]) => { u.destroy(); return element; });
    drawn = [];
    root.dataset.plots = "0";
    again.forEach((element) => kinds[element.dataset.chart](element, Number(element.dataset.row)));
  });
})();
