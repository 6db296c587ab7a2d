// What every staff page loads: htmx for forms that answer in place, the live
// element, ages that keep current, and the chart once one is on the screen.
// Pages are whole without it.
import htmx from "htmx.org/dist/htmx.esm.js";
import { keepAges } from "./ages";
import { defineLive } from "./live";
import { defineChart } from "./chart";
import { defineMap } from "./map";
import { keepWall } from "./wall";
import "./app.css";

// Our Content-Security-Policy forbids what these would do.
htmx.config.allowEval = false;
htmx.config.includeIndicatorStyles = false;
htmx.config.historyCacheSize = 0; // staff pages stay out of the browser's storage
htmx.config.scrollBehavior = "auto";

defineLive();
defineChart();
defineMap();
keepAges();
keepWall();

// After a form answered in place, its message gets the focus: the button that had
// it may be gone.
document.addEventListener("htmx:oobAfterSwap", (event) => {
  const target = (event as CustomEvent<{ target: HTMLElement }>).detail.target;
  if (target.id === "pemberitahuan") document.getElementById(target.id)?.focus();
});
// The session has ended: the server's sign-in page says why.
document.addEventListener("htmx:responseError", (event) => {
  const status = (event as CustomEvent<{ xhr: XMLHttpRequest }>).detail.xhr.status;
  if (status === 401) location.reload();
});
