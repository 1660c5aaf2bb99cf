// The live page, wired: socket → history, rows, charts.  What is worth testing lives in its imports.

import { showLink } from "./banner.js";
import { isUtc } from "./clock.js";
import { column, empty, fromHist, merge, push } from "./history.js";
import { patchLine, rowsOf } from "./line.js";
import { DEAD_AFTER_MS, clockSkewS, isStale } from "./link.js";
import { findPanels, press, reset, rezone, showPanels } from "./panels.js";
import { patchList, setText } from "./patch.js";
import { patchPool, patchPools } from "./pool.js";
import { connect } from "./socket.js";
import { patchRows, sentences, sparkPath } from "./tiers.js";
import { seconds } from "./units.js";

const SPARK_S = 300;
const find = (selector) => document.querySelector(selector);
const root = find("[data-live]");
const panels = findPanels(root, () => showCharts());
const hidden = new Set(); // tiers left out of the charts
const histories = new Map(); // by pool

let figures = JSON.parse(find("#figures").textContent);
let frame = null;
let cameAtMs = null; // on the monotonic clock
let link = { state: "connecting", atMs: Date.now() };
let chosenPool = new URLSearchParams(location.search).get("pool");

const ageMs = () => (cameAtMs === null ? null : performance.now() - cameAtMs);
const poolShown = () => frame.pools.find((pool) => pool.name === chosenPool) ?? frame.pools[0];

function historyOf(name) {
  if (!histories.has(name)) histories.set(name, empty());
  return histories.get(name);
}

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const socket = connect({
  url: `${scheme}//${location.host}${root.dataset.socket}`,
  onState(state) {
    link = state;
    tellLink();
  },
  onMessage(message) {
    if (message.k === "hist") histories.set(message.pool, merge(fromHist(message), historyOf(message.pool)));
    if (message.k === "snap") take(message);
  },
});

function take(snap) {
  frame = snap;
  cameAtMs = performance.now();
  for (const pool of frame.pools) push(historyOf(pool.name), frame.at, pool);
  socket.send({ k: "ack", seq: frame.seq });
  tellLink();
  show();
  if (frame.policy_version !== figures.policy_version) refreshFigures(frame.policy_version);
}

let askedFor = null;
async function refreshFigures(version) {
  if (askedFor === version) return;
  askedFor = version;
  const answer = await fetch(root.dataset.figures);
  if (answer.ok && !answer.redirected) figures = await answer.json();
}

function show() {
  if (!frame?.pools.length || document.hidden) return;
  const pool = poolShown();
  patchPools(find("[data-pools]"), frame.pools, pool);
  patchPool(root, pool, policyShown(), frame.at);
  showTiers(pool, 0);
  const trends = pool.tiers.flatMap(sentences);
  patchList(find("[data-trends]"), [...(trends.length ? trends : ["No queue grows."]), ...skew()]);
  patchLine(root, pool, new Map(pool.tiers.map((tier, rank) => [tier.name, rank % 5])));
  showFirstRun(pool);
  showCharts();
  document.dispatchEvent(new CustomEvent("laneway:frame", { detail: { frame, pool } })); // actions.js
}

function showTiers(pool, agedS) {
  const spark = (name) => {
    const { values } = column(historyOf(pool.name), name, "waiting", frame.at - SPARK_S);
    return sparkPath(values, Math.max(10, ...values));
  };
  patchRows(find("[data-tiers]"), find("[data-tier-template]"), pool, { agedS, spark, head: rowsOf(pool), shows: () => true });
}

/** What is known of the version in force; of one that has just come, its number alone. */
function policyShown() {
  const { policy_version: version, policy_by: by, policy_at: at } = figures;
  return version === frame.policy_version ? { version, by, at } : { version: frame.policy_version };
}

function showCharts() {
  if (!frame?.pools.length) return;
  const pool = poolShown();
  showPanels(panels, { figures, pool, hidden, history: historyOf(pool.name), nowS: frame.at, utc: isUtc() });
}

function skew() {
  const ahead = clockSkewS(frame.at, Date.now());
  if (ahead === null) return [];
  return [`This computer's clock is ${seconds(Math.abs(ahead))} ${ahead > 0 ? "ahead of" : "behind"} the gateway's.`];
}

function showFirstRun(pool) {
  const quiet = pool.tiers.every((t) => t.waiting + t.in_flight + t.wait.n + t.in_per_s === 0);
  const past = historyOf(pool.name).points.flatMap((point) => Object.values(point.tiers ?? {}));
  find("[data-first-run]").hidden = !quiet || past.some((t) => t.waiting > 0 || t.p95_s != null);
  const curl = find("[data-curl]");
  if (pool.models[0]) setText(curl, curl.textContent.replace('"MODEL"', JSON.stringify(pool.models[0])));
}

function tellLink() {
  showLink(root, { socket: link, ageMs: ageMs(), lastAtS: frame?.at ?? null, nowMs: Date.now(), utc: isUtc() });
}

setInterval(() => {
  const age = ageMs();
  tellLink();
  if (link.state === "open" && Date.now() - link.atMs > DEAD_AFTER_MS && !(age < DEAD_AFTER_MS)) socket.abandon();
  // Between frames the oldest grows older here; once the page is stale it stands still.
  if (age > 1200 && !isStale(age) && frame.pools.length) showTiers(poolShown(), age / 1000);
}, 250);

root.addEventListener("click", async ({ target }) => {
  const button = target.closest("button");
  if (button?.matches("[data-toggle]")) {
    const { tier } = button.closest("tr").dataset;
    if (press(button)) hidden.delete(tier);
    else hidden.add(tier);
    showCharts();
  }
  if (button?.matches("[data-copy]")) {
    await navigator.clipboard.writeText(find("[data-curl]").textContent);
    setText(find("[data-copy-text]"), "Copied");
  }
});
find("[data-pools]").addEventListener("change", ({ target }) => {
  chosenPool = target.value;
  const address = new URL(location.href);
  address.searchParams.set("pool", chosenPool);
  history.replaceState(null, "", address);
  reset(panels);
  show();
});
find("[data-retry]").addEventListener("click", () => socket.retryNow());
document.addEventListener("laneway:theme", showCharts);
document.addEventListener("laneway:zone", ({ detail: utc }) => {
  rezone(panels, utc);
  tellLink();
  showCharts();
});
document.addEventListener("visibilitychange", show);
