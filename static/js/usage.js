// The usage chart: what the server laid out, in the colours of the theme.

import { coloured } from "./charts.js";

const ROLES = ["text", "muted", "grid", "surface", "blue", "amber", "teal", "pink", "grey"];
const DAY_PX = 100; // of a date under the axis, and room beside it
const plot = document.querySelector("[data-usage]");
const source = document.querySelector("#usage-figure");
const form = document.querySelector("[data-submit-on-change]");

form?.addEventListener("change", () => form.requestSubmit());

function palette() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(ROLES.map((role) => [role, style.getPropertyValue(`--chart-${role}`).trim()]));
}

function draw() {
  const figure = JSON.parse(source.textContent);
  const colours = palette();
  const data = figure.data.map((trace, i) => coloured(trace, figure.trace_roles[i], colours));
  const layout = coloured(figure.layout, figure.roles, colours);
  layout.xaxis.nticks = Math.min(layout.xaxis.nticks, Math.max(2, Math.floor(plot.clientWidth / DAY_PX)));
  globalThis.Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
}

if (plot && source) {
  draw();
  document.addEventListener("laneway:theme", draw);
  addEventListener("resize", draw);
}
