// How long ago something was, in a page's language: "3 jam yang lalu:",
// before what is said about it.
export function age(lang: string, at: number): string {
  const minutes = Math.max(0, Math.round((Date.now() - at) / 60_000));
  const words = new Intl.RelativeTimeFormat(lang, { numeric: "always" });
  if (minutes < 60) return `${words.format(-minutes, "minute")}:`;
  return `${minutes < 48 * 60 ? words.format(-Math.floor(minutes / 60), "hour") : words.format(-Math.floor(minutes / 1440), "day")}:`;
}
