// A screen on a wall shows a page that nobody touches: it is read again every
// minute, and while the server is away the last one stays, with a word about it.
export function keepWall(): void {
  const every = Number(document.body.dataset["wall"]);
  if (!every) return;
  const again = async (): Promise<void> => {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) {
        if (answer.status < 500) location.reload(); // revoked or expired: say so
        throw new Error(String(answer.status));
      }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of ["main", "footer", "header"]) {
        const now = document.querySelector(`body > ${part}`);
        const next = fresh.querySelector(`body > ${part}`);
        if (now && next) now.replaceWith(document.adoptNode(next));
      }
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
  };
  setInterval(again, every * 1000);
  addEventListener("online", again); // the network is back: do not wait
}
