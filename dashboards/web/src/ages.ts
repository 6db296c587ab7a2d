// Keeps <time data-age> current, in the words that the server uses too
// (Intl.RelativeTimeFormat of the page's language).
const format = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always" });
const now = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });
const steps: [number, Intl.RelativeTimeFormatUnit][] = [
  [48 * 3600, "day"],
  [3600, "hour"],
  [60, "minute"],
  [0, "second"],
];
const length: Record<string, number> = { day: 86400, hour: 3600, minute: 60, second: 1 };

// The server's clock counts, not the visitor's: the offset comes with live
// updates.
let ahead = 0;

/** Tells how late it is at the server (Unix milliseconds). */
export function serverTime(ms: number): void {
  ahead = ms - Date.now();
}

function text(seconds: number): string {
  if (Math.abs(seconds) <= 5) return document.documentElement.lang === "id" ? "baru saja" : "just now";
  for (const [from, unit] of steps) {
    if (Math.abs(seconds) >= from) return format.format(-Math.trunc(seconds / length[unit]!), unit);
  }
  return now.format(0, "second");
}

/** Rewrites every age on the page. */
export function refreshAges(root: ParentNode = document): void {
  const at = Date.now() + ahead;
  for (const el of root.querySelectorAll<HTMLTimeElement>("time[data-age]")) {
    const words = text((at - Date.parse(el.dateTime)) / 1000);
    if (el.textContent !== words) el.textContent = words;
  }
}

/** Rewrites ages from now on. */
export function keepAges(): void {
  setInterval(() => {
    if (!document.hidden) refreshAges();
  }, 1000);
  document.addEventListener("visibilitychange", () => refreshAges());
}
