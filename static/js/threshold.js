// Handles at the thresholds on the charts, for those who edit rules: drag one, or press Enter on it.
// Letting go opens the rule's form with that value and what it would have done; nothing is saved before.

import { setText } from "./patch.js";
import { count, span } from "./units.js";

const REFRESH_MS = 30_000; // how late an open page hears of another person's edit
const MOVED_PX = 3;
const SAY = { queue: count, wait: span };

/** Two digits say what a hand can hit. */
const rounded = (value) => Number(value.toPrecision(2));

/** Where the form of a rule is, asked for a level at this value of a tier. */
export function addressOf(base, { rule, severity, tier }, value) {
  const asked = new URLSearchParams({ level: severity, at: value, tier });
  return `${base}${rule}/?${asked}`;
}

function follow(card, base) {
  const plot = card.querySelector("[data-plot]");
  const layer = card.appendChild(document.createElement("div"));
  layer.className = "handles";
  const hear = () => {
    if (!plot.on) return;
    clearInterval(waiting);
    plot.on("plotly_afterplot", () => place(plot, layer, base, card.dataset.chart));
  };
  const waiting = setInterval(hear, 200); // plotly makes `on` with its first drawing
}

function place(plot, layer, base, kind) {
  if (layer.querySelector("[data-held]")) return; // one is in somebody's hand
  const { _size: size, yaxis } = plot._fullLayout;
  const crossing = (plot.layout.meta?.levels ?? []).filter(({ value }) => inside(yaxis, value));
  while (layer.children.length > crossing.length) layer.lastElementChild.remove();
  crossing.forEach((level, i) => {
    const handle = layer.children[i] ?? layer.appendChild(made(plot, base, kind));
    handle.level = level;
    setText(handle, "⇕");
    const told = `${level.tier} ${level.severity} ${SAY[kind](level.value)}: drag, or press Enter, to edit the rule`;
    if (handle.title !== told) handle.title = told;
    handle.setAttribute("aria-label", told);
    handle.style.top = `${plot.offsetTop + size.t + yaxis.d2p(level.value)}px`;
    handle.style.left = `${plot.offsetLeft + size.l + size.w * (0.3 + (0.4 * i) / Math.max(1, crossing.length - 1))}px`;
  });
}

function inside(yaxis, value) {
  const px = yaxis.d2p(value);
  return px >= 0 && px <= yaxis._length;
}

function made(plot, base, kind) {
  const handle = document.createElement("button");
  handle.type = "button";
  handle.className = "handle";
  let fromPx = null;
  let value = null;
  const open = (at) => location.assign(addressOf(base, handle.level, at));
  const valueAt = (event) => {
    const { _size: size, yaxis } = plot._fullLayout;
    const px = event.clientY - plot.getBoundingClientRect().top - size.t;
    return Math.max(0, rounded(yaxis.p2d(Math.min(yaxis._length, Math.max(0, px)))));
  };
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    handle.dataset.held = "";
    fromPx = event.clientY;
    value = null;
    event.preventDefault();
  });
  handle.addEventListener("pointermove", (event) => {
    if (fromPx === null || Math.abs(event.clientY - fromPx) < MOVED_PX) return;
    value = valueAt(event);
    handle.style.top = `${plot.offsetTop + plot._fullLayout._size.t + plot._fullLayout.yaxis.d2p(value)}px`;
    setText(handle, `${handle.level.tier} ${handle.level.severity} ${SAY[kind](value)}`);
  });
  const letGo = (event) => {
    if (fromPx === null) return;
    fromPx = null;
    delete handle.dataset.held;
    if (event.type === "pointerup" && value !== null) open(value);
  };
  handle.addEventListener("pointerup", letGo);
  handle.addEventListener("pointercancel", letGo);
  handle.addEventListener("click", () => value === null && open(handle.level.value));
  return handle;
}

const root = document.querySelector("[data-rules]");
if (root) document.querySelectorAll("[data-chart]").forEach((card) => follow(card, root.dataset.rules));
setInterval(() => {
  if (!document.hidden) document.dispatchEvent(new CustomEvent("laneway:rules"));
}, REFRESH_MS);
