// The wall board, wired: tiles and two charts, and a screen that cannot be mistaken for a live one.

import { isUtc } from "./clock.js";
import { countdown, news, noData, reloadInMs, tile } from "./tiles.js";
import { empty, fromHist, merge, push } from "./history.js";
import { levelsOf } from "./levels.js";
import { DEAD_AFTER_MS, linkState } from "./link.js";
import { findPanels, rezone, showPanels } from "./panels.js";
import { patchList, setText } from "./patch.js";
import { facts, warnings } from "./pool.js";
import { connect } from "./socket.js";

const find = (selector) => document.querySelector(selector);
const root = find("[data-board]");
const panels = findPanels(root, () => showCharts());
const histories = new Map();
const openedAtMs = performance.now();
const wanted = new URLSearchParams(location.search).get("pool");

let figures = JSON.parse(find("#figures").textContent);
let frame = null;
let cameAtMs = null;
let link = { state: "connecting", atMs: Date.now() };
const RENEW_MS = 10_000; // charts' thresholds and open alerts

const ageMs = () => (cameAtMs === null ? null : performance.now() - cameAtMs);
const poolShown = () => frame.pools.find(({ name }) => name === wanted) ?? frame.pools[0];

function historyOf(name) {
  if (!histories.has(name)) histories.set(name, empty());
  return histories.get(name);
}

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const socket = connect({
  url: () => `${scheme}//${location.host}${root.dataset.socket}`,
  onState(state) {
    link = state;
    tellLink();
  },
  onMessage(message) {
    // After an upgrade every screen reloads, not all in the same second.
    if (message.k === "hello" && message.release !== root.dataset.release) setTimeout(() => location.reload(), Math.random() * 10_000);
    if (message.k === "hist") histories.set(message.pool, merge(fromHist(message), historyOf(message.pool)));
    if (message.k !== "snap") return;
    frame = message;
    cameAtMs = performance.now();
    socket.send({ k: "ack", seq: frame.seq });
    for (const pool of frame.pools) push(historyOf(pool.name), frame.at, pool);
    show();
  },
});

async function refreshFigures() {
  const answer = await fetch(root.dataset.figures).catch(() => null);
  if (answer?.ok && !answer.redirected) figures = await answer.json();
}

function show() {
  tellLink();
  if (!frame.pools.length) return;
  const pool = poolShown();
  const says = facts(pool, { version: frame.policy_version });
  setText(find("[data-pool-says]"), `${pool.name}: ${says.backends} backends up, ${says.in_flight} slots taken, ${says.engine_waiting} wait in vLLM, KV cache ${says.kv}, ${says.tokens_per_s} tokens/s, policy ${says.policy}`);
  patchList(find("[data-warnings]"), warnings(pool));
  patchList(find("[data-news]"), news(frame, figures.alerts, pool.name, isUtc()));
  showTiles(pool, 0);
  showCharts();
}

function showTiles(pool, agedS) {
  const tiles = find("[data-tiles]");
  pool.tiers.forEach((tier, rank) => {
    let element = tiles.querySelector(`[data-tile="${CSS.escape(tier.name)}"]`);
    if (!element) {
      element = find("[data-tile-template]").content.firstElementChild.cloneNode(true);
      element.dataset.tile = tier.name;
      element.setAttribute("aria-label", tier.name);
    }
    if (tiles.children[rank] !== element) tiles.insertBefore(element, tiles.children[rank] ?? null);
    const { cells, state, tint } = tile(tier, pool, agedS, (name, metric) => levelsOf(figures.levels, pool.name, name, metric));
    for (const [name, text] of Object.entries(cells)) setText(element.querySelector(`[data-cell="${name}"]`), text);
    element.dataset.rank = rank % 5;
    element.dataset.colour = figures.colours[tier.name] ?? "";
    element.dataset.state = state;
    element.querySelector(".oldest").dataset.tint = tint;
  });
  while (tiles.children.length > pool.tiers.length) tiles.lastElementChild.remove();
}

function showCharts() {
  if (!frame?.pools.length) return;
  const pool = poolShown();
  showPanels(panels, { figures, pool, hidden: new Set(), history: historyOf(pool.name), nowS: frame.at, utc: isUtc(), marks: frame.marks ?? [] });
}

function tellLink() {
  const age = ageMs();
  const state = linkState(link, age);
  const without = noData(link, age, performance.now() - openedAtMs);
  find("[data-link-badge]").dataset.linkBadge = state;
  setText(find("[data-link-text]"), state);
  find("[data-no-data]").hidden = without === null;
  if (without === null) return;
  setText(find("[data-no-data-for]"), countdown(without.forMs));
  setText(find("[data-no-data-why]"), without.why);
}

setInterval(() => {
  const age = ageMs();
  tellLink();
  if (link.state === "open" && Date.now() - link.atMs > DEAD_AFTER_MS && !(age < DEAD_AFTER_MS)) socket.abandon();
  if (age > 1200 && frame?.pools.length) showTiles(poolShown(), age / 1000);
}, 250);
setInterval(refreshFigures, RENEW_MS);
setTimeout(() => location.reload(), reloadInMs(new Date(), Math.random()));
document.addEventListener("laneway:theme", showCharts);
document.addEventListener("laneway:zone", ({ detail: utc }) => {
  rezone(panels, utc);
  showCharts();
});
