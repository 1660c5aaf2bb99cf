// The live page, wired: socket → history, rows, charts.  What is worth testing lives in its imports.

import { frozenText, showLink } from "./banner.js";
import { isUtc } from "./clock.js";
import { explainIn } from "./explain.js";
import { filteredLine, query, says } from "./filtered.js";
import { column, empty, fromHist, merge, push } from "./history.js";
import { listenToKeys } from "./keys.js";
import { levelsOf } from "./levels.js";
import { patchLine, rowsOf, usualSays } from "./line.js";
import { DEAD_AFTER_MS, clockSkewS, isStale } from "./link.js";
import { findPanels, press, reset, rezone, showPanels } from "./panels.js";
import { marksOf, pastOf } from "./past.js";
import { patchList, setText } from "./patch.js";
import { poller } from "./polling.js";
import { patchPool, patchPools } from "./pool.js";
import { connect } from "./socket.js";
import { patchRows, sentences, sparkPath } from "./tiers.js";
import { listenToBar, showBar } from "./toolbar.js";
import { seconds } from "./units.js";
import { RANGES, inWords, isFiltered, pinned, read, shifted, shows, spanOf, write } from "./view.js";

const SPARK_S = 300;
const CALM_FROM_S = RANGES["6h"]; // from here on charts are drawn every CALM_S only
const CALM_S = 5;
const REST_AFTER_MS = 300_000; // of a tab that nobody sees
const find = (selector) => document.querySelector(selector);
const root = find("[data-live]");
const bar = find("[data-toolbar]");
const panels = findPanels(root, () => showCharts());
const hidden = new Set(); // tiers left out of the charts
const histories = new Map(); // by pool
const past = pastOf(root.dataset.history, () => showCharts());
const filtered = filteredLine(root.dataset.list, () => show());

let figures = JSON.parse(find("#figures").textContent);
let newest = null; // the last frame that came
let frozen = null; // {frame, sinceMs, behind} while somebody holds the page still
let cameAtMs = null; // on the monotonic clock
let heardAtS = null; // of the last frame that was pushed: from there on the server knows more
let polled = false;
let link = { state: "connecting", atMs: Date.now(), failures: 0 };
let view = read(location.search);
let unseenSinceMs = null;

const frameShown = () => frozen?.frame ?? newest;
const ageMs = () => (cameAtMs === null ? null : performance.now() - cameAtMs);
const poolOf = (frame) => frame.pools.find((pool) => pool.name === view.pool) ?? frame.pools[0];

function historyOf(name) {
  if (!histories.has(name)) histories.set(name, empty());
  return histories.get(name);
}

// What comes

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const socket = connect({
  url: () => `${scheme}//${location.host}${root.dataset.socket}${heardAtS === null ? "" : `?since=${Math.floor(heardAtS)}`}`,
  onState(state) {
    link = state;
    tellLink();
  },
  onMessage(message) {
    if (message.k === "hello") find("[data-old-page]").hidden = message.release === root.dataset.release;
    if (message.k === "hist") histories.set(message.pool, merge(fromHist(message), historyOf(message.pool)));
    if (message.k === "snap") {
      socket.send({ k: "ack", seq: message.seq });
      heardAtS = message.at;
      take(message, false);
    }
  },
});
const poll = poller(root.dataset.frame, (frame) => {
  if (link.state !== "open") take(frame, true);
});

function take(frame, asked) {
  newest = frame;
  polled = asked;
  cameAtMs = performance.now();
  for (const pool of frame.pools) push(historyOf(pool.name), frame.at, pool);
  tellLink();
  if (frozen) frozen.behind += 1;
  else show();
  if (frame.policy_version !== figures.policy_version) refreshFigures(frame.policy_version);
}

let askedFor = null;
async function refreshFigures(version) {
  if (askedFor === version) return;
  askedFor = version;
  const answer = await fetch(root.dataset.figures).catch(() => null);
  if (answer?.ok && !answer.redirected) figures = await answer.json();
}
document.addEventListener("laneway:rules", async () => {
  askedFor = null;
  await refreshFigures(figures.policy_version);
  show();
});

// What is shown

function show() {
  const frame = frameShown();
  if (!frame?.pools.length || document.hidden) return;
  const pool = poolOf(frame);
  patchPools(find("[data-pools]"), frame.pools, pool);
  patchPool(root, pool, policyShown(frame), frame.at);
  showTiers(pool, 0);
  const told = pool.tiers.filter(({ name }) => shows(view, name)).flatMap(sentences);
  patchList(find("[data-trends]"), told.length ? told : ["No queue grows."]);
  showList(pool);
  showSkew(frame);
  showFirstRun(pool);
  if (frame.seq % CALM_S === 0 || spanLength() < CALM_FROM_S) showCharts();
  document.dispatchEvent(new CustomEvent("laneway:frame", { detail: { frame, pool, view } })); // begin.js
}

/** What is known of the version in force; of one that has just come, its number alone. */
function policyShown(frame) {
  const { policy_version: version, policy_by: by, policy_at: at } = figures;
  return version === frame.policy_version ? { version, by, at } : { version: frame.policy_version };
}

/** The tiers with the waits over the window that was chosen. */
const windowed = (pool) => (view.pct === "1m" ? { ...pool, tiers: pool.tiers.map((tier) => ({ ...tier, wait: tier.wait_1m })) } : pool);

function showTiers(pool, agedS) {
  const spark = (name) => {
    const { values } = column(historyOf(pool.name), name, "waiting", frameShown().at - SPARK_S);
    return sparkPath(values, Math.max(10, ...values));
  };
  const levels = (tier, metric) => levelsOf(figures.levels, pool.name, tier, metric);
  const options = { agedS, spark, head: rowsOf(pool), shows: (tier) => shows(view, tier), levels, colours: figures.colours };
  patchRows(find("[data-tiers]"), find("[data-tier-template]"), windowed(pool), options);
  setText(find("[data-window]"), view.pct === "1m" ? "1 min" : "5 min");
}

function showList(pool) {
  const first = rowsOf(pool);
  const part = isFiltered(view) ? filtered.of(pool.name, view, frozen !== null) : null;
  const head = part ? rowsOf({ head: part.rows, head_columns: part.columns }) : isFiltered(view) ? [] : first;
  const words = part ? says(part, pool.waiting, inWords(view)) : isFiltered(view) ? `looking for ${inWords(view)}…` : usualSays(first, pool.waiting);
  patchLine(root, { head, says: words, filtered: isFiltered(view), found: part !== null }, figures.colours);
  find("[data-csv]").search = query(pool.name, view);
  const tiers = pool.tiers.map(({ name }) => name);
  showBar(bar, view, { tiers, rows: [...first, ...head], models: pool.models, utc: isUtc(), frozen: frozen !== null });
}

const spanLength = () => (view.span ? view.span[1] - view.span[0] : RANGES[view.range]);

function showCharts() {
  const frame = frameShown();
  if (!frame?.pools.length) return;
  const pool = poolOf(frame);
  const own = historyOf(pool.name);
  const seen = frozen ? { ...own, points: own.points.filter(({ at }) => at <= frame.at) } : own;
  const { history, marks } = past(view, pool.name, seen);
  const [sinceS, nowS] = spanOf(view, frame.at);
  const usual = !view.span && view.range === "15m"; // a young history fills the chart
  const out = new Set([...hidden, ...pool.tiers.map(({ name }) => name).filter((name) => !shows(view, name))]);
  showPanels(panels, {
    figures, pool, history, nowS, sinceS: usual ? undefined : sinceS, hidden: out, utc: isUtc(),
    isPast: view.span !== null, marks: marksOf(marks, frame.marks ?? [], figures.notes),
  });
}

function showSkew(frame) {
  const ahead = polled ? null : clockSkewS(frame.at, Date.now() - (frozen ? Date.now() - frozen.sinceMs : 0));
  find("[data-skew]").hidden = ahead === null;
  if (ahead !== null) setText(find("[data-skew]"), `This computer's clock is ${seconds(Math.abs(ahead))} ${ahead > 0 ? "ahead of" : "behind"} the gateway's: times of day differ.`);
}

function showFirstRun(pool) {
  const quiet = pool.tiers.every((t) => t.waiting + t.in_flight + t.wait.n + t.in_per_s === 0);
  const seen = historyOf(pool.name).points.flatMap((point) => Object.values(point.tiers ?? {}));
  find("[data-first-run]").hidden = !quiet || seen.some((t) => t.waiting > 0 || t.p95_s != null);
  const curl = find("[data-curl]");
  if (pool.models[0]) setText(curl, curl.textContent.replace('"MODEL"', JSON.stringify(pool.models[0])));
}

function tellLink() {
  const held = frozen && frozenText(frozen.sinceMs, Date.now(), frozen.behind);
  showLink(root, { socket: link, ageMs: ageMs(), polled, frozen: held, lastAtS: newest?.at ?? null, nowMs: Date.now(), utc: isUtc() });
}

setInterval(() => {
  const age = ageMs();
  tellLink();
  poll(link);
  if (link.state === "open" && Date.now() - link.atMs > DEAD_AFTER_MS && !(age < DEAD_AFTER_MS)) socket.abandon();
  if (unseenSinceMs !== null && performance.now() - unseenSinceMs > REST_AFTER_MS && link.state !== "resting") socket.rest();
  // Between frames the oldest grows older here; once the page is stale it stands still.
  if (!frozen && age > 1200 && !isStale(age, polled) && newest.pools.length) showTiers(poolOf(newest), age / 1000);
}, 250);

// What people choose

function choose(change) {
  const before = view;
  view = { ...view, ...change };
  const address = write(view, location.search);
  if (address !== location.search) history.pushState(null, "", address || location.pathname);
  follow(before);
}

function follow(before) {
  root.dataset.density = view.density;
  if (before.pool !== view.pool || before.range !== view.range || String(before.span) !== String(view.span)) reset(panels);
  show();
  showCharts();
}

function freeze() {
  frozen = frozen ? null : newest && { frame: newest, sinceMs: Date.now(), behind: 0 };
  tellLink();
  show();
}

async function share() {
  const address = new URL(write(pinned(view, frameShown()?.at ?? Date.now() / 1000), location.search), location.href);
  await navigator.clipboard.writeText(address.href);
  setText(find("[data-share-text]"), "Link copied");
}

const onlyTier = (name) => ({ filter: { ...view.filter, tier: String(view.filter.tier) === name ? [] : [name] } });
const nowS = () => newest?.at ?? Date.now() / 1000;
const keys = {
  filter: () => bar.elements.tenant.focus(),
  freeze,
  density: () => choose({ density: view.density ? "" : "compact" }),
  earlier: () => choose(shifted(view, -1, nowS())),
  later: () => choose(shifted(view, 1, nowS())),
  board: () => location.assign(find("[data-board]").href),
  go: ({ to }) => document.querySelector(`.rail a[href="${to}"]`)?.click(),
  tier: ({ tier }) => newest && poolOf(newest).tiers[tier] && choose(onlyTier(poolOf(newest).tiers[tier].name)),
  undo: () => document.querySelector("[data-toasts] [data-undo] button")?.click(),
  line: () => find("[data-line] a")?.focus(),
  pause: () => document.dispatchEvent(new CustomEvent("laneway:pause", { detail: { tier: view.filter.tier[0] ?? null } })),
};

listenToKeys(find("[data-keys]"), (meant) => keys[meant.act]?.(meant));
listenToBar(bar, { view: () => view, choose, zone: isUtc, freeze, share, nowS });
explainIn(find("[data-why-dialog]"), root);
find("[data-help]").addEventListener("click", () => find("[data-keys]").showModal());
find("[data-reload]").addEventListener("click", () => location.reload());
find("[data-retry]").addEventListener("click", () => socket.retryNow());
/** A count of those who wait shows them: the line below, filtered by that tier. */
root.addEventListener("click", (event) => {
  const count = event.target.closest("[data-to-line]");
  if (!count || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  choose({ filter: { ...view.filter, tier: [count.closest("tr").dataset.tier] } });
  find("#line-title").scrollIntoView({ block: "start" });
});
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
find("[data-pools]").addEventListener("change", ({ target }) => choose({ pool: target.value }));
addEventListener("popstate", () => {
  const before = view;
  view = read(location.search);
  follow(before);
});
document.addEventListener("laneway:theme", showCharts);
document.addEventListener("laneway:zone", ({ detail: utc }) => {
  rezone(panels, utc);
  tellLink();
  showCharts();
});
document.addEventListener("visibilitychange", () => {
  unseenSinceMs = document.hidden ? performance.now() : null;
  if (!document.hidden && link.state === "resting") socket.retryNow();
  show();
});
root.dataset.density = view.density;
