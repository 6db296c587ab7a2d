declare module "htmx.org/dist/htmx.esm.js" {
  interface Htmx {
    config: Record<string, unknown>;
    swap(target: Element, html: string, spec: { swapStyle: string }): void;
    trigger(target: Element, name: string): void;
  }
  const htmx: Htmx;
  export default htmx;
}
