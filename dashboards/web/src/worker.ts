// The service worker of the citizens' pages: a page that was seen before is on the
// screen at once. Unless it is a few minutes young it says that it is kept and how
// old, and asks for the newest itself; without a line it stays marked as old. It
// keeps away from the staff's pages.
import { age } from "./age";

const pages = "pantau-halaman";
const files = "pantau-berkas";
const most = 40; // pages kept
const young = 5 * 60_000; // as long as an open page does not ask, either
const keptAt = "pantau-tersimpan"; // header: when, by this device's clock

// What this worker uses of a service worker's world; the compiler's own words for
// it do not go together with those of pages.
interface Work extends Event {
  waitUntil(work: Promise<unknown>): void;
}
interface Ask extends Work {
  request: Request;
  respondWith(answer: Promise<Response>): void;
}
interface World {
  addEventListener(name: "install" | "activate", on: (event: Work) => void): void;
  addEventListener(name: "fetch", on: (event: Ask) => void): void;
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void>; matchAll(of: { type: "window"; includeUncontrolled: boolean }): Promise<readonly { url: string }[]> };
}
const worker = self as unknown as World;

const citizens = /^\/(en(\/|$))?($|(udara|wilayah|stasiun|buletin|ralat|bukti|metode|data|tentang|privasi|aksesibilitas|luring)(\/|$))/;
const offline = (path: string) => (path === "/en" || path.startsWith("/en/") ? "/en/luring" : "/luring");

worker.addEventListener("install", (event) => event.waitUntil(prepare().then(() => worker.skipWaiting())));

// Without a line there are the pages that say so, and what every page loads.
async function prepare(): Promise<void> {
  const c = await caches.open(files);
  await c.addAll(["/luring", "/en/luring"]);
  const html = (await (await c.match("/luring"))?.text()) ?? "";
  await c.addAll([...html.matchAll(/"(\/umum\/[^"]+\.(?:js|svg))"/g)].map(([, path]) => path!));
}

// The pages that are open when the worker comes are kept, too: the browser's own
// cache still has them.
worker.addEventListener("activate", (event) => {
  event.waitUntil(
    worker.clients
      .matchAll({ type: "window", includeUncontrolled: true })
      .then((open) => Promise.allSettled(open.map(({ url }) => (citizens.test(new URL(url).pathname) ? fetch(url).then((a) => remember(url, a)) : undefined))))
      .then(() => worker.clients.claim()),
  );
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const at = new URL(request.url);
  if (request.method !== "GET" || at.origin !== location.origin) return;
  if (at.pathname.startsWith("/umum/")) {
    event.respondWith(keep(request));
  } else if (citizens.test(at.pathname) && (request.mode === "navigate" || request.cache === "no-cache")) {
    event.respondWith(page(event, at.pathname)); // no-cache: an open page asks for a newer one
  }
});

// Files below /umum/ never change under their name.
async function keep(request: Request): Promise<Response> {
  const c = await caches.open(files);
  const known = await c.match(request);
  if (known) return known;
  const answer = await fetch(request);
  if (answer.ok) await c.put(request, answer.clone());
  return answer;
}

async function page(event: Ask, path: string): Promise<Response> {
  const { url, cache, redirect } = event.request;
  const known = await (await caches.open(pages)).match(url);
  if (known && navigator.onLine && cache !== "no-cache" && cache !== "reload") {
    const old = Date.now() - Number(known.headers.get(keptAt));
    return old >= 0 && old < young ? known : marked(known, "cek");
  }
  try {
    if (!navigator.onLine) throw new TypeError("offline"); // what the browser's own cache gives would look new
    const answer = await fetch(url, { cache: "no-cache", redirect });
    event.waitUntil(remember(url, answer.clone()));
    return answer;
  } catch (e) {
    if (known) return marked(known, "ya");
    const none = await (await caches.open(files)).match(offline(path));
    if (none) return none;
    throw e;
  }
}

async function remember(url: string, answer: Response): Promise<void> {
  const c = await caches.open(pages);
  if (answer.status === 404) await c.delete(url);
  if (!answer.ok || answer.redirected) return;
  const headers = plain(answer);
  headers.set(keptAt, String(Date.now()));
  await c.put(url, new Response(await answer.blob(), { headers }));
  const all = await c.keys();
  for (const old of all.slice(0, Math.max(0, all.length - most))) await c.delete(old);
}

// plain are an answer's headers without what is only true of its way over the line.
function plain(answer: Response): Headers {
  const headers = new Headers(answer.headers);
  headers.delete("content-encoding");
  headers.delete("content-length");
  return headers;
}

// A kept page says so, and how old its values are, before a word of it is read.
async function marked(answer: Response, how: "cek" | "ya"): Promise<Response> {
  let html = (await answer.text()).replace("<html ", `<html data-luring="${how}" `);
  const [, lang, hour] = /<html [^>]*lang="([a-z]+)" data-jam="([^"]+)"/.exec(html) ?? [];
  if (lang && hour) html = html.replace('<b class="umur"></b>', `<b class="umur">${age(lang, Date.parse(hour))}</b>`);
  return new Response(html, { headers: plain(answer) });
}
