// The street map itself. A file of its own: only who opens the map loads it.
import { circleMarker, divIcon, featureGroup, geoJSON, layerGroup, map as leaflet, marker, polyline, tileLayer } from "leaflet";
import type { CircleMarker, Map as LeafletMap } from "leaflet";
import type { Places, Spot } from "./map";

/** What one marker stands for: one station, or several too near to tell apart. */
type Heap = { spots: Spot[]; x: number; y: number };

const near = 34; // pixels within which stations become one marker

function heaps(map: LeafletMap, spots: Spot[]): Heap[] {
  const out: Heap[] = [];
  for (const spot of spots) {
    const { x, y } = map.project([spot.lat, spot.lon]);
    const found = out.find((h) => Math.hypot(h.x - x, h.y - y) < near);
    if (found) found.spots.push(spot);
    else out.push({ spots: [spot], x, y });
  }
  return out;
}

/** Words in an element of their own: never markup. */
function words(name: string, ...texts: string[]): HTMLElement {
  const el = document.createElement("span");
  el.className = name;
  el.textContent = texts.join(" ");
  return el;
}

/** Draws the map into host. */
export function mount(host: HTMLElement, places: Places): void {
  const colours = getComputedStyle(host);
  const colour = (category: number): string => colours.getPropertyValue(`--cat-${category}`).trim() || "#fff";
  const edge = colours.getPropertyValue("--edge").trim();
  const box = document.createElement("div");
  box.className = "street-map";
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", host.dataset.label ?? "");
  host.replaceChildren(box);
  const map = leaflet(box, { attributionControl: Boolean(host.dataset.tiles), zoomSnap: 0.5 });
  map.attributionControl?.setPrefix(false);
  const tiles = host.dataset.tiles;
  if (tiles) tileLayer(tiles, { attribution: words("", host.dataset.credit ?? "").innerHTML, maxZoom: 18 }).addTo(map);

  // Half degrees, named at the edge of the map by their lines.
  for (let lon = 108; lon <= 112; lon += 0.5) polyline([[-9, lon], [-5, lon]], { color: edge, weight: 0.5, interactive: false }).addTo(map);
  for (let lat = -9; lat <= -5; lat += 0.5) polyline([[lat, 108], [lat, 112]], { color: edge, weight: 0.5, interactive: false }).addTo(map);
  if (places.outlines) {
    geoJSON(places.outlines, {
      style: (feature) => {
        const category = places.areas[String(feature?.properties?.["code"])]?.category ?? 0;
        return { color: edge, weight: 1, fillColor: colour(category), fillOpacity: category ? 0.3 : 0.05 };
      },
      onEachFeature: (feature, layer) => layer.bindTooltip(words("", places.areas[String(feature.properties?.["code"])]?.label ?? ""), { sticky: true }),
    }).addTo(map);
  }
  for (const place of places.names) {
    marker([place.lat, place.lon], { icon: divIcon({ className: "street-name", html: words("", place.name), iconSize: [0, 0] }), interactive: false, keyboard: false }).addTo(map);
  }
  const all = featureGroup([...places.spots, ...places.names].map((p) => circleMarker([p.lat, p.lon])));
  map.fitBounds(all.getBounds().isValid() ? all.getBounds().pad(0.05) : [[-8.3, 108.5], [-5.7, 111.7]]);

  const markers = layerGroup().addTo(map);
  const draw = (): void => {
    markers.clearLayers();
    for (const heap of heaps(map, places.spots)) {
      // The worst one names the heap.
      const worst = heap.spots.reduce((a, b) => (b.category > a.category ? b : a));
      const several = heap.spots.length > 1;
      const at: [number, number] = [worst.lat, worst.lon];
      const spot: CircleMarker = circleMarker(at, { radius: several ? 18 : 15, color: edge, weight: 1.5, fillColor: colour(worst.category), fillOpacity: 1 });
      const figure = divIcon({ className: `street-figure on-cat-${worst.category}`, html: words("", several ? `${heap.spots.length}×` : worst.mark), iconSize: [36, 20] });
      const title = several ? heap.spots.map((s) => `${s.name}: ${s.value} ${s.word}`).join("; ") : `${worst.name}: ${worst.value} ${worst.word}`;
      const top = marker(at, { icon: figure, title, alt: title, keyboard: true });
      const act = (): void => {
        if (several && map.getZoom() < map.getMaxZoom() && map.getZoom() < 13) map.setView(at, map.getZoom() + 2);
        else location.assign(worst.url);
      };
      for (const layer of [spot, top]) layer.on("click", act);
      top.on("keypress", (event) => {
        if ((event as unknown as { originalEvent: KeyboardEvent }).originalEvent.key === "Enter") act();
      });
      markers.addLayer(spot).addLayer(top);
    }
  };
  map.on("zoomend", draw);
  draw();
  host.setAttribute("data-drawn", "");
}
