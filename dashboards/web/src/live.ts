// <pantau-live>: the page's parts change when something happened at the server.
//
// One browser holds one stream for all its pages: whoever gets the lock
// "pantau-live" holds it, the others hear its events through a BroadcastChannel
// and tell it which parts they show. Where a browser lacks one of the two, each
// page holds its own stream.
import htmx from "htmx.org/dist/htmx.esm.js";
import { refreshAges, serverTime } from "./ages";

type Update = { lang: string; html: Record<string, string>; version?: string };
type Message =
  | { type: "want"; tab: string; stream: string; topics: string[] } // a page shows these
  | { type: "gone"; tab: string }
  | { type: "ask" } // a new holder of the stream asks who shows what
  | { type: "update"; update: Update }
  | { type: "state"; state: State }
  | { type: "beat"; at: number };
type State = "joining" | "on" | "lost" | "ended";

const tab = Math.random().toString(36).slice(2);

/** The stream, held by one page of the browser. */
class Holder {
  private wants = new Map<string, { stream: string; topics: string[] }>();
  private source?: EventSource;
  private open = "";
  private timer = 0;
  private silence = 0;

  constructor(private tell: (message: Message) => void) {}

  want(from: string, stream: string, topics: string[]): void {
    this.wants.set(from, { stream, topics });
    this.later();
  }

  // The stream goes on with the parts of a page that left until another one joins:
  // to connect again now would show every other page "joining", and one whose
  // session has ended an end that comes and goes.
  gone(from: string): void {
    this.wants.delete(from);
  }

  close(): void {
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.source?.close();
  }

  private later(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.connect(), 50);
  }

  private connect(): void {
    const topics = [...new Set([...this.wants.values()].flatMap((w) => w.topics))].sort();
    const stream = [...this.wants.values()][0]?.stream;
    if (!stream || topics.length === 0) return this.source?.close();
    const url = `${stream}?${new URLSearchParams({ t: topics.join(" ") })}`;
    // A page that joins needs its parts once, so an unchanged list reconnects too,
    // unless the stream is open and all it wants was there before.
    if (this.open === url && this.source?.readyState === EventSource.OPEN) return;
    this.open = url;
    this.source?.close();
    this.tell({ type: "state", state: "joining" });
    const source = (this.source = new EventSource(url));
    source.onopen = () => this.heard(); // "on" is what the first heartbeat says: without a session there is none
    source.onmessage = (event: MessageEvent<string>) => {
      this.heard();
      this.tell({ type: "update", update: JSON.parse(event.data) as Update });
    };
    source.addEventListener("beat", (event) => {
      this.heard();
      this.tell({ type: "beat", at: Date.parse((event as MessageEvent<string>).data) });
    });
    source.addEventListener("end", () => {
      source.close();
      clearTimeout(this.silence);
      this.tell({ type: "state", state: "ended" });
    });
    source.onerror = () => {
      this.tell({ type: "state", state: "lost" });
      // The browser comes back by itself, except after a refusal.
      if (source.readyState === EventSource.CLOSED) this.again(5000);
    };
  }

  // A link that died without a word brings no heartbeat (every 15 s).
  private heard(): void {
    clearTimeout(this.silence);
    this.silence = window.setTimeout(() => {
      this.tell({ type: "state", state: "lost" });
      this.again(0);
    }, 40_000);
  }

  private again(after: number): void {
    this.source?.close();
    this.open = "";
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.connect(), after + Math.random() * 2000);
  }
}

// What changed for a screen reader: only that alerts came or went, not values.
const announcer = document.createElement("p");
announcer.className = "visually-hidden";
announcer.setAttribute("role", "status");

/** What a screen reader is told of a part, by the element that tells it. */
function announced(part: HTMLElement | null): Map<string, string> {
  const tell = part ? [part, ...part.querySelectorAll<HTMLElement>("[data-announce]")] : [];
  return new Map(tell.map((el) => [el.id, el.dataset.announce ?? ""]));
}

/** What an element that has the focus is found again by: an id, or where it leads. */
const nameOf = (el: Element): string => el.id || el.getAttribute("href") || "";

/** Puts new parts into the page and keeps what its reader is doing. */
function swap(update: Update): void {
  if (update.lang !== document.documentElement.lang) return;
  for (const [id, html] of Object.entries(update.html)) {
    const old = document.getElementById(id);
    if (!old) continue;
    const told = announced(old);
    const typed = new Map<string, string>();
    const opened: string[] = [];
    for (const el of old.querySelectorAll("input")) if (el.id && el.value !== el.defaultValue) typed.set(el.id, el.value);
    for (const el of old.querySelectorAll("details[open]")) if (el.id) opened.push(el.id);
    const back = old.querySelector<HTMLInputElement>("input[name=kembali]")?.value;
    const focus = old.contains(document.activeElement) ? nameOf(document.activeElement!) : "";
    htmx.swap(old, html, { swapStyle: "outerHTML" });
    for (const [each, said] of announced(document.getElementById(id))) if (said !== told.get(each)) announcer.textContent = said;
    for (const each of opened) document.getElementById(each)?.setAttribute("open", "");
    for (const [each, value] of typed) {
      const el = document.getElementById(each);
      if (el instanceof HTMLInputElement) el.value = value;
    }
    if (focus && (document.activeElement === document.body || nameOf(document.activeElement!) !== focus)) {
      const same = [...(document.getElementById(id)?.querySelectorAll<HTMLElement>("[id], a[href]") ?? [])].find((el) => nameOf(el) === focus);
      same?.focus({ preventScroll: true });
    }
    if (back) for (const el of document.querySelectorAll<HTMLInputElement>(`#${id} input[name=kembali]`)) el.value = back;
  }
  refreshAges();
}

class Live extends HTMLElement {
  private channel?: BroadcastChannel;
  private holder?: Holder;
  private release?: () => void;
  private paused = false;
  private missed = new Map<string, Update>();
  private state: State = "joining";
  private word = document.createElement("span");
  private button = document.createElement("button");
  private refresh = 0;
  private asking = false;

  connectedCallback(): void {
    const now = Date.parse(this.dataset.now ?? "");
    if (now) serverTime(now);
    this.word.className = "state";
    this.word.setAttribute("role", "status");
    this.button.type = "button";
    this.button.className = "second";
    this.button.onclick = () => this.pause(!this.paused);
    this.replaceChildren(this.word, this.button, announcer);
    this.show();
    if ("BroadcastChannel" in window && navigator.locks) {
      this.channel = new BroadcastChannel("pantau-live");
      this.channel.onmessage = (event: MessageEvent<Message>) => this.hear(event.data);
      void navigator.locks.request("pantau-live", () => {
        this.holder = new Holder((message) => this.tell(message));
        this.channel?.postMessage({ type: "ask" } satisfies Message);
        this.want();
        return new Promise<void>((resolve) => (this.release = resolve));
      });
    } else {
      this.holder = new Holder((message) => this.tell(message));
    }
    this.want();
    window.addEventListener("pagehide", this.leave);
    window.addEventListener("pageshow", this.enter);
    this.refresh = window.setInterval(() => {
      const chart = document.getElementById("grafik");
      if (chart && !this.paused && !document.hidden && this.state === "on" && !chart.querySelector("details[open], [data-zoomed]")) {
        htmx.trigger(chart, "pantau:refresh");
      }
    }, 60_000);
  }

  disconnectedCallback(): void {
    this.leave();
    clearInterval(this.refresh);
    window.removeEventListener("pagehide", this.leave);
    window.removeEventListener("pageshow", this.enter);
  }

  private leave = (): void => {
    this.channel?.postMessage({ type: "gone", tab } satisfies Message);
    this.holder?.close();
    this.release?.();
    this.channel?.close();
  };

  // Back from the browser's page cache: the stream was given away.
  private enter = (event: PageTransitionEvent): void => {
    if (event.persisted) location.reload();
  };

  private want(): void {
    const lang = document.documentElement.lang;
    const topics = (this.dataset.topics ?? "").split(" ").map((t) => `${lang}.${t}`);
    const stream = this.dataset.stream ?? "";
    if (this.holder) this.holder.want(tab, stream, topics);
    else this.channel?.postMessage({ type: "want", tab, stream, topics } satisfies Message);
  }

  /** Passes what the stream said to this page and to the others. */
  private tell(message: Message): void {
    this.channel?.postMessage(message);
    this.hear(message);
  }

  private hear(message: Message): void {
    switch (message.type) {
      case "want":
        this.holder?.want(message.tab, message.stream, message.topics);
        // The new page learns at once how things stand.
        if (this.holder) this.channel?.postMessage({ type: "state", state: this.state } satisfies Message);
        break;
      case "gone":
        this.holder?.gone(message.tab);
        break;
      case "ask":
        this.want();
        break;
      case "beat":
        serverTime(message.at);
        this.set("on");
        break;
      case "state":
        this.set(message.state);
        break;
      case "update":
        this.set("on");
        if (!this.paused) swap(message.update);
        else this.keep(message.update);
        if (message.update.version) void this.freshen(message.update.version);
        break;
    }
  }

  /** Reads the page again if another version of its parts is told of than it shows. */
  private async freshen(version: string): Promise<void> {
    this.dataset.newest = version;
    if (this.paused || this.asking || version === this.dataset.version || !document.querySelector("[data-fresh]")) return;
    this.asking = true;
    try {
      // A page that reads itself is nobody being there: its session ends in its time.
      const answer = await fetch(location.href, { headers: { "Pantau-Live": "1" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const shown = page.querySelector<HTMLElement>("pantau-live")?.dataset.version;
      if (!answer.ok || !shown) throw new Error(`status ${answer.status}`);
      this.dataset.version = shown;
      const html: Record<string, string> = {};
      for (const part of page.querySelectorAll("[data-fresh]")) html[part.id] = part.outerHTML;
      swap({ lang: document.documentElement.lang, html });
    } catch {
      delete this.dataset.newest; // no line or no session: the stream tells again when it is back
    } finally {
      // While an hour's figures are computed there is a new version every moment.
      setTimeout(() => {
        this.asking = false;
        if (this.dataset.newest && this.isConnected) void this.freshen(this.dataset.newest);
      }, 2000);
    }
  }

  private keep(update: Update): void {
    for (const [id, html] of Object.entries(update.html)) this.missed.set(`${update.lang} ${id}`, { lang: update.lang, html: { [id]: html } });
  }

  private pause(on: boolean): void {
    this.paused = on;
    if (!on) {
      for (const update of this.missed.values()) swap(update);
      this.missed.clear();
      if (this.dataset.newest) void this.freshen(this.dataset.newest);
    }
    this.show();
  }

  private set(state: State): void {
    // An end stays until a heartbeat shows that somebody signed in again.
    if (state === this.state || (this.state === "ended" && state !== "on")) return;
    this.state = state;
    this.show();
  }

  private words(name: string): string {
    return this.getAttribute(`data-word-${name}`) ?? "";
  }

  private show(): void {
    const state = this.paused && this.state !== "ended" ? "paused" : this.state;
    const looks: Record<string, string> = { on: "ok", lost: "warn", ended: "bad", paused: "", joining: "" };
    const word = this.words(state);
    this.word.className = `state ${looks[state]}`;
    if (this.word.textContent !== word) this.word.textContent = word;
    this.button.textContent = this.words(this.paused ? "resume" : "pause");
    this.button.setAttribute("aria-pressed", String(this.paused));
    this.button.hidden = state === "ended";
    const old = this.querySelector("a");
    if (state !== "ended") old?.remove();
    else if (!old) {
      const link = document.createElement("a");
      link.href = this.dataset.signIn ?? "/masuk";
      link.textContent = this.words("sign-in");
      this.append(link);
    }
  }
}

/** Makes <pantau-live> work. */
export function defineLive(): void {
  customElements.define("pantau-live", Live);
}
