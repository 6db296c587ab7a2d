// <pantau-map>: the street map, fetched once its <details> is opened. Without
// tiles it still has markers, graticule and names. What it is told is text.
type Spot = { lat: number; lon: number; name: string; value: string; word: string; category: number; url: string };
type Named = { lat: number; lon: number; name: string };
type Places = { spots: Spot[]; names: Named[]; outlines?: GeoJSON.FeatureCollection; areas: Record<string, { label: string; category: number }> };

class StreetMap extends HTMLElement {
  connectedCallback(): void {
    const details = this.closest("details");
    if (!details) return;
    const open = (): void => {
      if (!details.open) return;
      details.removeEventListener("toggle", open);
      this.draw().catch((reason: unknown) => console.warn("street map stays away:", reason));
    };
    details.addEventListener("toggle", open);
    open();
  }

  private async draw(): Promise<void> {
    const url = this.dataset.points;
    if (!url) return;
    const [{ mount }, answer] = await Promise.all([import("./street"), fetch(url, { headers: { Accept: "application/json" } })]);
    if (!answer.ok) throw new Error(`stations: HTTP ${answer.status}`);
    mount(this, (await answer.json()) as Places);
  }
}

export type { Places, Spot };

/** Makes <pantau-map> work. */
export function defineMap(): void {
  customElements.define("pantau-map", StreetMap);
}
