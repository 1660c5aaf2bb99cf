// The chart cards: each draws, or shows its table, and knows where somebody zoomed to.

import { KINDS, draw, figureNow, momentS, xOf } from "./charts.js";
import { beginsS, slices } from "./history.js";
import { tellMoments } from "./moments.js";
import { patchTable, setText } from "./patch.js";
import { ABSENT, count, quantile, span, timeOfDay } from "./units.js";

const ROLES = ["text", "muted", "grid", "surface", "threshold", "blue", "amber", "teal", "pink", "grey"];
const SAY_EVERY_S = 30;

/** @returns {object[]} one panel a `[data-chart]`; `redraw` is called when a person changed one */
export function findPanels(root, redraw) {
  const panels = [...root.querySelectorAll("[data-chart]")].map((element) => ({
    element,
    kind: element.dataset.chart,
    plot: element.querySelector("[data-plot]"),
    table: element.querySelector("[data-table]"),
    log: element.querySelector("[data-log]") !== null,
    zoom: null, // the x range somebody chose; null follows the clock
    top: null,
    saidAtS: 0,
    onScreen: true,
    redraw,
  }));
  const sight = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const panel = panels.find(({ element }) => element === target);
      panel.onScreen = isIntersecting;
      if (isIntersecting) redraw();
    }
  });
  for (const panel of panels) {
    sight.observe(panel.element);
    listen(panel);
  }
  return panels;
}

function listen(panel) {
  panel.element.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if (button.matches("[data-follow]")) zoomTo(panel, null);
    if (button.matches("[data-log]")) panel.log = press(button);
    if (button.matches("[data-moments]")) tellMoments(panel.marks.flat(), panel.utc);
    if (button.matches("[data-as-table]")) {
      panel.table.hidden = !press(button);
      panel.plot.hidden = !panel.table.hidden;
    }
    panel.redraw();
  });
}

/** Flips a toggle button. @returns {boolean} whether it is pressed now */
export function press(button) {
  const pressed = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", pressed);
  return pressed;
}

function zoomTo(panel, range) {
  panel.zoom = range;
  panel.element.querySelector("[data-follow]").hidden = range === null;
}

/** Another pool: nothing of the old view fits. */
export function reset(panels) {
  for (const panel of panels) {
    panel.top = null;
    zoomTo(panel, null);
  }
}

export function rezone(panels, utc) {
  for (const panel of panels) {
    panel.zoom &&= panel.zoom.map((x) => xOf(momentS(x, !utc), utc));
  }
}

/** @param {{figures: object, pool: object, history: object, nowS: number, hidden: Set<string>, utc: boolean}} now */
export function showPanels(panels, now) {
  const style = getComputedStyle(document.documentElement);
  const palette = Object.fromEntries(ROLES.map((role) => [role, style.getPropertyValue(`--chart-${role}`).trim()]));
  for (const panel of panels) {
    if (!panel.table.hidden) showTable(panel, now);
    else if (panel.onScreen && globalThis.Plotly) paint(panel, now, palette);
    if (now.nowS - panel.saidAtS >= SAY_EVERY_S) {
      panel.saidAtS = now.nowS;
      setText(panel.element.querySelector("[data-says]"), inWords(panel, now));
    }
  }
}

/** Shift and a click on a chart mark that moment, for all: the note's page asks what happened. */
function listenForMarks(plot, utc) {
  plot.addEventListener("mousedown", (event) => {
    if (!event.shiftKey || event.button !== 0) return;
    event.stopPropagation(); // plotly would begin to move the chart
    event.preventDefault();
    const { _size: size, xaxis } = plot._fullLayout;
    const atS = momentS(xaxis.p2d(event.clientX - plot.getBoundingClientRect().left - size.l), utc());
    location.assign(`${plot.dataset.notes}?at=${new Date(atS * 1000).toISOString().slice(0, 19)}`);
  }, true);
}

function paint(panel, now, palette) {
  const { plot, kind } = panel;
  const waits = kind === "wait";
  const byTier = (value) => Object.fromEntries(now.pool.tiers.map((tier) => [tier.name, value(tier)]));
  const { data, layout, top } = figureNow(now.figures.charts[kind], now.history, {
    ...now,
    ...panel,
    palette,
    sinceS: now.sinceS ?? beginsS(now.history, now.nowS),
    heightPx: plot.clientHeight,
    widthPx: plot.clientWidth,
    latest: now.isPast ? null : byTier((tier) => (waits ? quantile(tier.wait.p95) : count(tier.waiting))),
  });
  panel.top = top;
  panel.utc = now.utc;
  panel.marks = layout.meta.marks;
  const opener = panel.element.querySelector("[data-moments]");
  if (opener) opener.hidden = panel.marks.length === 0;
  draw(plot, { data, layout });
  if (panel.hears) return;
  panel.hears = true;
  if (plot.dataset.notes) listenForMarks(plot, () => panel.utc);
  if (opener) plot.on("plotly_clickannotation", ({ annotation }) => tellMoments(panel.marks[annotation.name] ?? [], panel.utc));
  plot.on("plotly_doubleclick", () => {
    zoomTo(panel, null);
    panel.redraw();
  });
  plot.on("plotly_relayout", (change) => {
    if (change["xaxis.range[0]"] === undefined) return;
    zoomTo(panel, [change["xaxis.range[0]"], change["xaxis.range[1]"]]);
    panel.redraw();
  });
}

/** About thirty rows, whatever the range. */
const ROW_STEPS_S = [30, 60, 120, 300, 600, 1800, 3600, 10_800];

function showTable({ kind, table }, { pool, history, utc, sinceS, nowS }) {
  const { key, say } = KINDS[kind];
  const names = pool.tiers.map((tier) => tier.name);
  const numeric = names.map((_, i) => i + 1);
  const everyS = ROW_STEPS_S.find((s) => (nowS - (sinceS ?? nowS)) / s <= 30) ?? ROW_STEPS_S.at(-1);
  const seen = { ...history, points: history.points.filter(({ at }) => at >= (sinceS ?? 0)) };
  const rows = slices(seen, names, key, everyS).map(({ at, values }) => [
    timeOfDay(at * 1000, utc),
    ...values.map((value) => (value == null ? ABSENT : say(value))),
  ]);
  if (!table.firstElementChild) table.append(document.querySelector("#plot-table").content.cloneNode(true));
  patchTable(table.querySelector("thead"), [[`most within ${span(everyS)}`, ...names]], numeric);
  patchTable(table.querySelector("tbody"), rows, numeric);
}

function inWords({ kind }, { pool, nowS, utc, sinceS }) {
  const parts = pool.tiers.map((t) => `${t.name} ${kind === "wait" ? quantile(t.wait.p95) : count(t.waiting)}`);
  return `At ${timeOfDay(nowS * 1000, utc)}: ${parts.join(", ")}. Drawn is ${span(Math.round(nowS - (sinceS ?? nowS - 900)))}; the table button shows them as numbers.`;
}
