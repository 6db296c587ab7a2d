// What the citizens' pages load, after they are on the screen: "near me", the
// last place, sharing, a look at the server every five minutes, and the service
// worker, which keeps pages on this device. Pages are whole without it.
import { age } from "./age";

interface Place {
  n: string;
  u: string;
  a: number;
  o: number;
  v: string;
}

const find = <T extends HTMLElement>(selector: string) => document.querySelector<T>(selector);

// The last place is kept on this device only.
const lastKey = "pantau.tempat";

function remember(): void {
  const place = find("[data-tempat]");
  const link = find<HTMLAnchorElement>("#terakhir");
  try {
    if (place) localStorage.setItem(lastKey, JSON.stringify({ u: location.pathname + location.search, n: place.dataset.nama }));
    const last = JSON.parse(localStorage.getItem(lastKey) ?? "null") as { u: string; n: string } | null;
    if (link && last && !place && typeof last.u === "string" && last.u.startsWith("/") && !last.u.startsWith("//")) {
      link.href = last.u;
      link.textContent = (link.dataset.text ?? "%").replace("%", last.n);
      link.hidden = false;
    }
  } catch {
    // the browser keeps nothing: so be it
  }
}

function kilometres(a: number, o: number, to: Place): number {
  const rad = Math.PI / 180;
  const h = Math.sin(((to.a - a) * rad) / 2) ** 2 + Math.cos(a * rad) * Math.cos(to.a * rad) * Math.sin(((to.o - o) * rad) / 2) ** 2;
  return 2 * 6371 * Math.asin(Math.sqrt(Math.min(1, h)));
}

// Coordinates stay here: the list of all stations comes, and this device looks
// for the nearest itself.
function near(): void {
  const box = find("#dekat");
  const button = box?.querySelector("button");
  const say = box?.querySelector("[role=status]");
  if (!box || !button || !say || !("geolocation" in navigator)) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    say.textContent = box.dataset.wait ?? "";
    const list = fetch(box.dataset.list ?? "").then((r) => r.json() as Promise<Place[]>);
    list.catch(() => undefined);
    navigator.geolocation.getCurrentPosition(
      (at) => {
        list.then(
          (all) => {
            const here = all.map((p) => ({ p, d: kilometres(at.coords.latitude, at.coords.longitude, p) }));
            here.sort((x, y) => x.d - y.d);
            const ul = document.createElement("ul");
            ul.className = "list";
            for (const { p, d } of here.slice(0, 3)) {
              const li = document.createElement("li");
              const a = document.createElement("a");
              a.href = p.u;
              a.textContent = p.n;
              const span = document.createElement("span");
              const km = new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: d < 10 ? 1 : 0 }).format(d);
              span.textContent = `${p.v} · ${(box.dataset.km ?? "%").replace("%", km)}`;
              li.append(a, span);
              ul.append(li);
            }
            box.querySelector("ul")?.remove();
            box.append(ul);
            say.textContent = "";
          },
          () => (say.textContent = box.dataset.failed ?? ""),
        );
      },
      (e) => (say.textContent = (e.code === e.PERMISSION_DENIED ? box.dataset.refused : box.dataset.failed) ?? ""),
      { maximumAge: 300_000, timeout: 20_000 },
    );
  });
}

function share(): void {
  const button = find<HTMLButtonElement>("#bagikan");
  if (!button) return;
  const { url = "", text = "", done = "" } = button.dataset;
  // Neither is there on a page that came without TLS.
  const { share, clipboard } = navigator as Partial<Navigator>;
  if (share) {
    button.addEventListener("click", () => void navigator.share({ text, url }).catch(() => undefined));
  } else if (clipboard) {
    button.addEventListener("click", () => void clipboard.writeText(`${text} ${url}`).then(() => (button.textContent = done)));
  } else {
    return;
  }
  button.hidden = false;
}

// A page that stays open asks every five minutes, while it is looked at, whether
// there is a newer one; a kept page asks at once, and is marked until it has heard.
// Only a change of category is spoken. Who does not want pages to change under the
// eyes stops the five minutes.
const every = 5 * 60_000;
const lasts = 75 * 60_000; // an hour's figures are the newest until the next hour's are out
const pauseKey = "pantau.jeda";

let paused = false;
let asked = 0;

function keepFresh(): void {
  const root = document.documentElement.dataset;
  const hour = Date.parse(root.jam ?? "");
  const [load] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  if (!root.luring) {
    if (load?.transferSize || navigator.serviceWorker?.controller) {
      asked = Date.now(); // it came over the line, or the worker found it young
    } else if (Date.now() - hour > lasts) {
      // The browser's own cache gives what is long past when somebody goes back.
      root.luring = "cek";
      const box = find(".umur");
      if (box) box.textContent = age(document.documentElement.lang, hour);
    }
  }
  void ask();
  setInterval(() => void ask(), 60_000);
  document.addEventListener("visibilitychange", () => void ask());
  const now = () => {
    asked = 0;
    void ask();
  };
  addEventListener("online", now);
  document.addEventListener("pantau:refresh", now);
}

async function ask(): Promise<void> {
  const root = document.documentElement.dataset;
  if (document.hidden || Date.now() - asked < every || (paused && !root.luring)) return;
  asked = Date.now();
  let next: Document;
  try {
    const r = await fetch(location.href, { cache: "no-cache" });
    if (r.status === 404) location.reload(); // the place is not public any more
    if (!r.ok) throw new TypeError(r.statusText);
    next = new DOMParser().parseFromString(await r.text(), "text/html");
    if (next.documentElement.dataset.luring) throw new TypeError("offline");
  } catch {
    if (root.luring) root.luring = "ya"; // no line: the page says its hour
    return;
  }
  const now = document.querySelector("main");
  const fresh = next.querySelector("main");
  if (!now || !fresh) return;
  if (now.innerHTML !== fresh.innerHTML) {
    if (now.contains(document.activeElement) && document.activeElement !== now) {
      if (root.luring) asked = 0; // somebody is at work in it: in a minute, then
      return;
    }
    const word = (of: ParentNode) => of.querySelector(".head .word")?.textContent?.trim();
    const news = word(now) === word(fresh) ? "" : (fresh.querySelector(".lead")?.textContent?.trim() ?? "");
    now.replaceChildren(...fresh.childNodes);
    document.title = next.title;
    root.jam = next.documentElement.dataset.jam;
    if (news) speak(news);
    start();
  }
  delete root.luring;
}

function speak(text: string): void {
  const box = find("#kabar");
  if (box) box.textContent = text;
}

function pause(): void {
  const button = find<HTMLButtonElement>("#jeda");
  if (!button) return;
  const show = () => button.setAttribute("aria-pressed", String(paused));
  try {
    paused = localStorage.getItem(pauseKey) === "ya";
  } catch {
    // the browser keeps nothing: for this page, then
  }
  show();
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    show();
    try {
      if (paused) localStorage.setItem(pauseKey, "ya");
      else localStorage.removeItem(pauseKey);
    } catch {
      // as above
    }
    void ask();
  });
}

// What is kept for the offline page, by the pages' own titles.
async function kept(): Promise<void> {
  const list = find("#tersimpan");
  if (!list || !("caches" in window)) return;
  const pages = await caches.open("pantau-halaman");
  const others = (await pages.keys()).filter(({ url }) => new URL(url).pathname !== location.pathname);
  for (const request of others.slice(-8).reverse()) {
    const at = new URL(request.url);
    const html = (await (await pages.match(request))?.text()) ?? "";
    const a = document.createElement("a");
    a.href = at.pathname + at.search;
    a.textContent = new DOMParser().parseFromString(html, "text/html").title.replace(/ · [^·]*$/, "") || decodeURIComponent(at.pathname);
    const li = document.createElement("li");
    li.append(a);
    list.append(li);
  }
}

function start(): void {
  remember();
  near();
  share();
}

start();
pause();
keepFresh();
void kept();
if ("serviceWorker" in navigator) {
  addEventListener("load", () => void navigator.serviceWorker.register("/pekerja.js").catch(() => undefined));
}
