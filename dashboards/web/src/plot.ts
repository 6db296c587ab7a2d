// The zoomable chart. A file of its own, so that pages without a chart on the
// screen do not load it.
import uPlot from "uplot";
import type { Points } from "./chart";

/** Draws points into host, over its SVG; returns how to take it away again. */
export function mount(host: HTMLElement, points: Points): () => void {
  const lang = document.documentElement.lang;
  const style = getComputedStyle(host);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const number = (v: number, digits = points.decimals): string =>
    v.toLocaleString(lang, { minimumFractionDigits: 0, maximumFractionDigits: digits });
  const clock = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "Asia/Jakarta" });
  const font = `13px ${style.fontFamily}`;

  const reading = document.createElement("p");
  reading.className = "reading hint";
  reading.textContent = host.dataset.zoom ?? "";
  const say = (plot: uPlot): void => {
    const i = plot.cursor.idx;
    const time = i == null ? undefined : points.times[i];
    if (i == null || time === undefined) {
      reading.textContent = host.dataset.zoom ?? "";
      return;
    }
    const value = points.values[i] ?? points.rejected[i];
    const gap = points.gaps.find((g) => time > g.from && time < g.to);
    const what = value == null ? (gap?.note ?? "–") : `${number(value)} ${points.unit}${points.values[i] == null ? " ○" : ""}`;
    reading.textContent = `${clock.format(time * 1000)} WIB: ${what}`;
  };

  // Gaps as hatching: the same picture as the SVG's.
  const hatch = document.createElement("canvas");
  hatch.width = hatch.height = 8;
  const pen = hatch.getContext("2d");
  if (pen) {
    pen.strokeStyle = colour("--edge");
    pen.globalAlpha = 0.4;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(-2, 6);
    pen.lineTo(2, 10);
    pen.moveTo(-2, 10);
    pen.lineTo(10, -2);
    pen.moveTo(6, 10);
    pen.lineTo(10, 6);
    pen.stroke();
  }
  const gaps = (plot: uPlot): void => {
    const pattern = plot.ctx.createPattern(hatch, "repeat");
    if (!pattern) return;
    plot.ctx.save();
    plot.ctx.fillStyle = pattern;
    for (const gap of points.gaps) {
      const left = Math.max(plot.valToPos(gap.from, "x", true), plot.bbox.left);
      const right = Math.min(plot.valToPos(gap.to, "x", true), plot.bbox.left + plot.bbox.width);
      if (right > left) plot.ctx.fillRect(left, plot.bbox.top, right - left, plot.bbox.height);
    }
    plot.ctx.restore();
  };

  const axis = { stroke: colour("--muted"), font, grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  const options: uPlot.Options = {
    width: host.clientWidth,
    height: 238,
    tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Asia/Jakarta"),
    legend: { show: false },
    cursor: { y: false, focus: { prox: -1 } },
    scales: {
      x: { range: (_, low, high) => (host.hasAttribute("data-zoomed") ? [low, high] : [points.from, points.to]) },
      y: { range: (_, low, high) => (low === null || high === null ? [0, 1] : uPlot.rangeNum(low, high, { min: { pad: 0.1, soft: 0, mode: low >= 0 && low <= high / 2 ? 1 : 2 }, max: { pad: 0.1 } })) },
    },
    axes: [
      { ...axis, values: (_, splits) => splits.map((s) => clock.format(s * 1000)), space: 60, grid: { show: false } },
      { ...axis, size: 52, values: (_, splits, __, ___, step) => splits.map((s) => number(s, step < 1 ? 2 : 0)), space: 40 },
    ],
    series: [
      {},
      { label: points.label, stroke: colour("--trace"), width: 2, points: { show: false } },
      { label: "○", stroke: colour("--bad"), width: 0, paths: () => null, points: { show: true, size: 7, fill: colour("--card") } },
    ],
    hooks: {
      drawAxes: [gaps],
      setCursor: [say],
      setSelect: [() => host.setAttribute("data-zoomed", "")],
      ready: [(plot) => plot.over.addEventListener("dblclick", () => host.removeAttribute("data-zoomed"), true)],
    },
  };
  // Rejected values do not stretch the axis: they stand at its edge.
  const valid = points.values.filter((v): v is number => v !== null);
  const low = Math.min(...valid);
  const high = Math.max(...valid);
  const held = points.rejected.map((v) => (v === null || valid.length === 0 ? v : Math.min(Math.max(v, low), high)));
  const plot = new uPlot(options, [points.times, points.values, held], host);
  plot.root.setAttribute("aria-hidden", "true"); // the SVG's words and the table say it
  host.append(reading);
  host.setAttribute("data-drawn", "");
  const resize = new ResizeObserver(() => plot.setSize({ width: host.clientWidth, height: 238 }));
  resize.observe(host);
  return () => {
    resize.disconnect();
    plot.destroy();
  };
}
