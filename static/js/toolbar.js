// The bar over the charts: filters, ranges, freeze, share.  It shows a view and says what was chosen.

import { FILTERS, RANGES } from "./view.js";
import { setText } from "./patch.js";

const two = (n) => String(n).padStart(2, "0");

/** What a `datetime-local` field holds for a moment, in the zone shown. */
export function fieldOf(atS, utc) {
  const at = new Date(atS * 1000);
  if (utc) return at.toISOString().slice(0, 19);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** The moment a field holds, or null. */
export function momentOf(text, utc) {
  const ms = Date.parse(utc && text ? `${text}Z` : text);
  return Number.isNaN(ms) ? null : ms / 1000;
}

/** Shows `view` in the bar. */
export function showBar(bar, view, { tiers, rows, models, utc, frozen }) {
  for (const button of bar.querySelectorAll("[data-range]")) {
    button.setAttribute("aria-pressed", !view.span && view.range === button.dataset.range);
  }
  bar.querySelector("[data-span]").classList.toggle("is-on", view.span !== null);
  bar.querySelector("[data-freeze]").setAttribute("aria-pressed", frozen);
  bar.querySelector("[data-density]").setAttribute("aria-pressed", view.density === "compact");
  const select = bar.elements.tier;
  options(select, ["", ...tiers], (name) => name || "all tiers");
  const fields = FILTERS.map((name) => bar.elements[name]);
  for (const field of fields) {
    const text = view.filter[field.name].join(",");
    if (field === document.activeElement) continue;
    if (field.tagName === "SELECT" && text && ![...field.options].some(({ value }) => value === text)) field.append(new Option(text, text));
    if (field.value !== text) field.value = text;
  }
  bar.elements.model.closest("label").hidden = models.length < 2 && !view.filter.model.length;
  if (bar.elements.pct !== document.activeElement) bar.elements.pct.value = view.pct;
  bar.querySelector("[data-clear]").hidden = FILTERS.every((name) => view.filter[name].length === 0);
  suggest(bar, "tenant", rows.map((row) => row.tenant));
  suggest(bar, "task", rows.map((row) => row.task_type));
  suggest(bar, "key", rows.map((row) => row.key));
  suggest(bar, "model", models);
  setText(bar.querySelector("[data-span-zone]"), utc ? "UTC" : "local time");
}

function options(select, values, say) {
  if ([...select.options].slice(0, values.length).map(({ value }) => value).join("\n") === values.join("\n")) return;
  select.replaceChildren(...values.map((value) => new Option(say(value), value)));
}

function suggest(bar, name, values) {
  const list = bar.querySelector(`#known-${name}`);
  const known = [...new Set(values)].filter(Boolean).sort();
  if (list.dataset.known === known.join("\n")) return;
  list.dataset.known = known.join("\n");
  list.replaceChildren(...known.map((value) => new Option(value, value)));
}

/** @param {(change: object, how?: string) => void} choose gets the parts of the view that changed */
export function listenToBar(bar, { view, choose, zone, freeze, share, nowS }) {
  const filter = () =>
    Object.fromEntries(FILTERS.map((name) => [name, bar.elements[name].value.split(",").map((w) => w.trim()).filter(Boolean)]));
  bar.addEventListener("submit", (event) => {
    event.preventDefault();
    choose({ filter: filter() });
  });
  bar.addEventListener("change", ({ target }) => {
    if (FILTERS.includes(target.name)) choose({ filter: filter() });
    if (target.name === "pct") choose({ pct: target.value });
  });
  bar.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    if (button.dataset.range in RANGES) choose({ range: button.dataset.range, span: null });
    if (button.matches("[data-freeze]")) freeze();
    if (button.matches("[data-share]")) share(button);
    if (button.matches("[data-density]")) choose({ density: view().density ? "" : "compact" });
    if (button.matches("[data-clear]")) choose({ filter: Object.fromEntries(FILTERS.map((name) => [name, []])) });
    if (button.matches("[data-span-apply]")) {
      const [from, to] = ["from", "to"].map((name) => momentOf(bar.elements[name].value, zone()));
      const usable = from !== null && to !== null && to - from >= 10 && from < nowS();
      bar.querySelector("[data-span-error]").hidden = usable;
      if (!usable) return;
      bar.querySelector("[data-span]").open = false;
      choose({ span: [from, Math.min(to, nowS())] });
    }
  });
  bar.querySelector("[data-span]").addEventListener("toggle", ({ target }) => {
    if (!target.open) return;
    const [from, to] = view().span ?? [nowS() - RANGES[view().range], nowS()];
    bar.elements.from.value = fieldOf(from, zone());
    bar.elements.to.value = fieldOf(to, zone());
  });
}
