// SPDX-License-Identifier: Apache-2.0
// Small time plots. Each has its numbers as a table for those who cannot see it.
import uPlot from "/public/vendor/uPlot.esm.js";
import { fill, h } from "./ui.js";

function colour(name, fallback) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim() || fallback; }

// points: [[unix seconds, value], ...] ascending; show(value) -> text. at(x) -> text makes x a plain number, not a time.
export function plot(el, { points, label, show, bars = false, height = 200, at = null }) {
  const data = [points.map((p) => p[0]), points.map((p) => p[1])];
  const holder = h("div", { class: "plot", role: "img", "aria-label": `${label}, a plot. The table below has the numbers.` });
  const day = at || ((t) => new Intl.DateTimeFormat(undefined, { dateStyle: "medium" }).format(new Date(t * 1000)));
  fill(el, holder, h("details", { class: "small" }, h("summary", {}, "Numbers"), h("table", { class: "table table-sm mb-0" },
    h("caption", { class: "visually-hidden" }, label), h("tbody", {}, (at ? points : points.slice(-60).reverse()).map(([t, v]) => h("tr", {}, h("th", { scope: "row" }, day(t)), h("td", { class: "text-end" }, show(v))))))));
  let chart = null;

  function draw() {
    const width = holder.clientWidth;
    if (!width) return;
    chart?.destroy();
    const ink = colour("--bs-body-color", "#333"), grid = colour("--bs-border-color", "#ddd"), brand = colour("--brand", "#0b7a75");
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui" };
    chart = new uPlot({ width, height, legend: { show: false }, cursor: { show: false },
      scales: { x: { time: !at, range: (u, lo, hi) => (at ? [lo, Math.max(hi, lo + 1)] : lo === hi ? [lo - 86400, hi + 86400] : [lo - 43200, hi + 43200]) },
        y: { range: (u, lo, hi) => [Math.min(0, lo), Math.max(hi, 1) * 1.1] } },
      axes: [at ? { ...axis, values: (u, ticks) => ticks.map(at) } : axis, { ...axis, size: 80, values: (u, ticks) => ticks.map(show) }],
      series: [{}, { label, stroke: brand, width: 2, fill: brand + "33", paths: bars ? uPlot.paths.bars({ size: [0.7, 48] }) : undefined, points: { show: points.length < 40 } }],
    }, data, holder);
  }
  new ResizeObserver(() => { if (chart && Math.abs(holder.clientWidth - chart.width) > 2) draw(); }).observe(holder);
  document.addEventListener("themechange", draw);
  draw();
}

// Sums values per local day; days without any count as 0 between the first and the last.
export function perDay(rows, when, value) {
  const sums = new Map();
  const midnight = (t) => { const d = new Date(t); d.setHours(0, 0, 0, 0); return d; };
  for (const row of rows) {
    const d = midnight(when(row)).getTime();
    sums.set(d, (sums.get(d) || 0) + Number(value(row)));
  }
  const days = [...sums.keys()].sort((a, b) => a - b);
  if (!days.length) return [];
  const out = [], d = new Date(days[0]), last = Math.max(days[days.length - 1], midnight(Date.now()).getTime());
  while (d.getTime() <= last && out.length < 400) {
    out.push([d.getTime() / 1000, sums.get(d.getTime()) || 0]);
    d.setDate(d.getDate() + 1);
  }
  return out;
}
