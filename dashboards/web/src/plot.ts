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
  const zone = { timeZone: "Asia/Jakarta" } as const;
  const clock = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...zone });
  const day = new Intl.DateTimeFormat(lang, { day: "numeric", month: "short", ...zone });
  const month = new Intl.DateTimeFormat(lang, { month: "short", year: "2-digit", ...zone });
  const long = points.to - points.from > 2 * 86400;
  const height = host.classList.contains("small") ? 188 : 238;
  const font = `13px ${style.fontFamily}`;

  const reading = document.createElement("p");
  reading.className = "reading hint";
  reading.textContent = host.dataset.zoom ?? "";
  const say = (plot: uPlot): void => {
    const i = plot.cursor.idx;
    const time = i == null ? undefined : plot.data[0][i];
    if (i == null || time === undefined) {
      reading.textContent = host.dataset.zoom ?? "";
      return;
    }
    const valid = plot.data[1]?.[i];
    const value = valid ?? points.rejected[points.times.indexOf(time)];
    const gap = points.gaps.find((g) => time > g.from && time < g.to);
    const what = value == null ? (gap?.note ?? "–") : `${number(value)} ${points.unit}${valid == null ? " ○" : ""}`;
    const date = long ? `${day.format(time * 1000)} ` : "";
    reading.textContent = `${date}${clock.format(time * 1000)} WIB: ${what}`;
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

  // The categories behind the line, as in the SVG.
  const bands = (plot: uPlot): void => {
    plot.ctx.save();
    plot.ctx.globalAlpha = 0.13;
    for (const band of points.bands ?? []) {
      const top = Math.max(band.to === undefined ? plot.bbox.top : plot.valToPos(band.to, "y", true), plot.bbox.top);
      const bottom = Math.min(plot.valToPos(band.from, "y", true), plot.bbox.top + plot.bbox.height);
      if (bottom <= top) continue;
      plot.ctx.fillStyle = colour(`--cat-${band.rank}`);
      plot.ctx.fillRect(plot.bbox.left, top, plot.bbox.width, bottom - top);
    }
    plot.ctx.restore();
  };
  // Charts of one group zoom together, and what is selected goes into the forms
  // that ask for a span.
  const group = host.dataset.group;
  const mates = (): Iterable<Element> => (group ? document.querySelectorAll(`pantau-chart[data-group="${group}"]`) : [host]);
  const zoomed = (on: boolean): void => {
    for (const mate of mates()) mate.toggleAttribute("data-zoomed", on);
  };
  const selected = (plot: uPlot): void => {
    if (plot.select.width <= 0) return;
    zoomed(true);
    const at = (x: number): string => new Date((plot.posToVal(x, "x") + 7 * 3600) * 1000).toISOString().slice(0, 16);
    for (const form of document.querySelectorAll<HTMLFormElement>("form[data-span]")) {
      const [from, to] = [form.querySelector<HTMLInputElement>("[name=dari]"), form.querySelector<HTMLInputElement>("[name=hingga]")];
      if (from) from.value = at(plot.select.left);
      if (to) to.value = at(plot.select.left + plot.select.width);
    }
  };

  const axis = { stroke: colour("--muted"), font, grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  const options: uPlot.Options = {
    width: host.clientWidth,
    height,
    tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Asia/Jakarta"),
    legend: { show: false },
    cursor: { y: false, focus: { prox: -1 }, ...(group ? { sync: { key: group, setSeries: false, scales: ["x", null] } } : {}) },
    scales: {
      x: { range: (_, low, high) => (host.hasAttribute("data-zoomed") ? [low, high] : [points.from, points.to]) },
      y: { range: (_, low, high) => (low === null || high === null ? [0, 1] : uPlot.rangeNum(low, high, { min: { pad: 0.1, soft: 0, mode: low >= 0 && low <= high / 2 ? 1 : 2 }, max: { pad: 0.1 } })) },
    },
    axes: [
      {
        ...axis, space: 60, grid: { show: false },
        values: (plot, splits) => {
          const span = (plot.scales["x"]?.max ?? points.to) - (plot.scales["x"]?.min ?? points.from);
          const form = span <= 2.2 * 86400 ? clock : span <= 100 * 86400 ? day : month;
          return splits.map((s) => form.format(s * 1000));
        },
      },
      { ...axis, size: 52, values: (_, splits, __, ___, step) => splits.map((s) => number(s, step < 1 ? 2 : 0)), space: 40 },
    ],
    series: [
      {},
      { label: points.label, stroke: colour("--trace"), width: 2, points: { show: false } },
      { label: "○", stroke: colour("--bad"), width: 0, paths: () => null, points: { show: true, size: 7, fill: colour("--card") } },
    ],
    hooks: {
      drawAxes: [bands, gaps],
      setCursor: [say],
      setSelect: [selected],
      ready: [(plot) => plot.over.addEventListener("dblclick", () => zoomed(false), true)],
    },
  };
  // Rejected values do not stretch the axis: they stand at its edge.
  const valid = points.values.filter((v): v is number => v !== null);
  const low = Math.min(...valid);
  const high = Math.max(...valid);
  const held = points.rejected.map((v) => (v === null || valid.length === 0 ? v : Math.min(Math.max(v, low), high)));
  const dashes = [[7, 4], [2, 5], [12, 4, 2, 4], [14, 6]];
  const others = points.others ?? [];
  others.forEach((other, i) => options.series.push({ label: other.name, stroke: colour(`--line-${i + 1}`), width: 2, dash: dashes[i] ?? [], points: { show: false } }));
  const own: uPlot.AlignedData = [points.times, points.values, held];
  const data = others.length === 0 ? own : uPlot.join([own, ...others.map((o): uPlot.AlignedData => [o.times, o.values])]);
  const plot = new uPlot(options, data, host);
  plot.root.setAttribute("aria-hidden", "true"); // the SVG's words and the table say it
  host.append(reading);
  host.setAttribute("data-drawn", "");
  const resize = new ResizeObserver(() => plot.setSize({ width: host.clientWidth, height }));
  resize.observe(host);
  return () => {
    resize.disconnect();
    plot.destroy();
  };
}
