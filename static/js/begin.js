// The live page: where orders begin, in the rows of tiers, in the rows of the line, and by key.

import { open, renewStrips, send, shownStrips, tell } from "./actions.js";
import { about, hindrances, sameStrips } from "./orders.js";
import { setText } from "./patch.js";

const acts = document.querySelector("[data-line-acts]");
const operates = acts.dataset.operates !== undefined;
const line = document.querySelector("[data-line]");
const chosen = new Set(); // ids: rows move while people choose
let seen = { pool: "", filter: {}, atS: 0, seq: null };

document.addEventListener("laneway:frame", ({ detail: { frame, pool, view } }) => {
  const isNew = frame.seq !== seen.seq; // a page that is frozen shows an old one again and again
  seen = { pool: pool.name, filter: view?.filter ?? {}, atS: frame.at, seq: frame.seq };
  if (isNew && !sameStrips(shownStrips(), frame.overrides ?? [])) renewStrips();
  for (const row of document.querySelectorAll("[data-tiers] [data-tier]")) tellEnd(row, pool.name, frame.overrides ?? []);
  if (!operates) return;
  for (const menu of document.querySelectorAll("[data-tier-acts]")) offer(menu, pool.tiers);
  patchRows();
  tellChosen();
});

/** How long a tier is held, under the word that says so; actions.js counts it down. */
function tellEnd(row, pool, overrides) {
  const order = overrides.find((one) => !one.tenant && one.pool === pool && one.tier === row.dataset.tier);
  let time = row.querySelector("[data-held-until]");
  if (!order) {
    time?.remove();
    return;
  }
  if (!time) {
    time = document.createElement("time");
    time.className = "held-until";
    time.dataset.heldUntil = "";
    row.querySelector('[data-cell="state"]').after(time);
  }
  time.dataset.ends = order.ends_at;
  time.title = `${order.verb} by ${order.by}: ${order.reason}`;
}

/** What cannot be done now says why, beside what it would be. */
function offer(menu, tiers) {
  const tier = tiers.find(({ name }) => name === menu.closest("[data-tier]").dataset.tier);
  if (!tier) return;
  menu.querySelector("summary").setAttribute("aria-label", `Actions for ${tier.name}`);
  const why = hindrances(tier);
  for (const link of menu.querySelectorAll("[data-act]")) {
    link.dataset.says ??= link.textContent;
    const reason = why[link.dataset.act];
    setText(link, reason ? `${link.dataset.says.replace("…", "")}: ${reason}` : link.dataset.says);
    link.toggleAttribute("data-hindered", Boolean(reason));
    link.setAttribute("aria-disabled", Boolean(reason));
  }
}

/** A cell at the end of each row; the rest of the row is line.js's. */
function patchRows() {
  const head = line.closest("table").querySelector("thead tr");
  if (!head.querySelector("[data-row-acts-head]")) head.append(acts.querySelector("[data-row-acts]").content.firstElementChild.cloneNode(true));
  const ids = new Set();
  for (const row of line.children) {
    const { id } = row.dataset;
    ids.add(id);
    let cell = row.querySelector("[data-row-cell]");
    if (!cell) cell = row.appendChild(acts.querySelector("[data-row-acts]").content.lastElementChild.cloneNode(true));
    if (cell.dataset.rowCell === id) continue;
    cell.dataset.rowCell = id;
    for (const control of cell.children) control.setAttribute("aria-label", `${control.title}: ${id}`);
    cell.querySelector("[data-choose]").checked = chosen.has(id);
  }
  for (const id of chosen) if (!ids.has(id)) chosen.delete(id); // gone, or out of sight
}

function tellChosen() {
  const filtered = Object.values(seen.filter).some((values) => values.length);
  const whom = chosen.size ? `${chosen.size} chosen…` : filtered ? "all that match…" : "all…";
  for (const text of acts.querySelectorAll("[data-act-whom]")) setText(text, whom);
}

document.addEventListener("change", ({ target }) => {
  if (!target.matches("[data-choose]")) return;
  const id = target.closest("[data-row-cell]").dataset.rowCell;
  if (target.checked) chosen.add(id);
  else chosen.delete(id);
  tellChosen();
});

document.addEventListener("click", (event) => {
  const { target } = event;
  const quick = target.closest("[data-by]");
  if (quick) boostAtOnce(quick.closest("[data-row-cell]").dataset.rowCell, quick.dataset.by);
  const link = target.closest("a[data-act]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (link.hasAttribute("data-hindered")) return;
  link.closest("details")?.removeAttribute("open");
  const tier = link.closest("[data-tier]")?.dataset.tier;
  const row = link.closest("[data-row-cell]")?.dataset.rowCell;
  const ids = row ? [row] : tier ? [] : [...chosen];
  open(about(link.pathname, { ...seen, tier, ids }));
});

/** A few levels for one request need no question: the answer carries an undo. */
function boostAtOnce(id, by) {
  const form = acts.querySelector("[data-quick]");
  const data = new FormData(form);
  // Random without a secure context too: crypto.randomUUID is absent on plain http.
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
  for (const [name, value] of Object.entries({ by, key, saw_at: seen.atS, seen: 1 })) data.set(name, value);
  send(about(form.getAttribute("action"), { pool: seen.pool, ids: [id] }), data);
}

/** keys.js says which tier, where one is chosen. */
document.addEventListener("laneway:pause", ({ detail: { tier } }) => {
  if (!operates) return;
  if (tier) open(about(acts.dataset.pause, { pool: seen.pool, tier }));
  else tell("Choose a tier first: its number, 1 for the most urgent.");
});
