// <pantau-chart>: draws a zoomable chart over the SVG that the server sent, once
// it is on the screen. If anything fails, the SVG stays.
type Points = {
  times: number[];
  values: (number | null)[];
  rejected: (number | null)[];
  from: number;
  to: number;
  label: string;
  unit: string;
  decimals: number;
  gaps: { from: number; to: number; note: string }[];
  bands?: { from: number; to?: number; name: string; rank: number }[];
  others?: { name: string; times: number[]; values: (number | null)[] }[];
};

class Chart extends HTMLElement {
  private seen?: IntersectionObserver;
  private stop?: () => void;

  connectedCallback(): void {
    this.seen = new IntersectionObserver((entries) => {
      if (!entries.some((e) => e.isIntersecting)) return;
      this.seen?.disconnect();
      this.draw().catch((reason: unknown) => console.warn("chart stays as it is:", reason));
    });
    this.seen.observe(this);
  }

  disconnectedCallback(): void {
    this.seen?.disconnect();
    this.stop?.();
  }

  private async draw(): Promise<void> {
    const url = this.dataset.points;
    if (!url) return;
    const [{ mount }, answer] = await Promise.all([import("./plot"), fetch(url, { headers: { Accept: "application/json" } })]);
    if (!answer.ok) throw new Error(`points: HTTP ${answer.status}`);
    const points = (await answer.json()) as Points;
    if (!this.isConnected || points.times.length === 0) return;
    this.stop = mount(this, points);
  }
}

export type { Points };

/** Makes <pantau-chart> work. */
export function defineChart(): void {
  customElements.define("pantau-chart", Chart);
}
