// One row a tier: what it says (pure), and putting that into the page without touching what is the same.

import { tints } from "./levels.js";
import { setText, setTitle } from "./patch.js";
import { ABSENT, about, count, percent, priority, quantile, rate, seconds, times, tokens } from "./units.js";

const GROWS = 1.05;
const FEW = 5; // events in five minutes: fewer make no rate
const LOSSES = { rejected: "rejected", expired: "expired", evicted: "evicted", cancelled: "hung up" };

export function lost({ lost_per_min: l }) {
  return l.rejected + l.expired + l.evicted + l.cancelled;
}

/** "3 expired, 1 hung up" in the last minute, or nothing. */
export function losses({ lost_per_min: l }) {
  return Object.entries(LOSSES).filter(([how]) => l[how]).map(([how, word]) => `${count(l[how])} ${word}`).join(", ");
}

/** In and out a second; of fewer than five events, how many there were. */
export function rates({ in_per_s: inS, out_per_s: outS, in_5m: come, out_5m: gone }) {
  if (come + gone === 0) return "0 → 0";
  return Math.max(come, gone) < FEW ? `${come} → ${gone} in 5 min` : `${rate(inS)} → ${rate(outS)}`;
}

/** Who would go now: "req_8fa2 of acme at 5"; null while nobody waits that may go. */
export function nextOf(tier, head) {
  const next = head.find((entry) => entry.tier === tier.name && entry.place != null);
  return next ? `${next.id} of ${next.tenant} would go next, at ${priority(next.effective_priority)}, place ${next.place}` : null;
}

/** @returns {{word: string, mark: string}} never told by colour alone */
export function state(tier) {
  if (tier.state === "paused") return { word: "paused", mark: "‖" };
  if (tier.state !== "open") return { word: tier.state, mark: "▼" };
  if (tier.lost_per_min.rejected > 0) return { word: "shedding", mark: "◆" };
  const idle = tier.waiting === 0 && tier.in_flight === 0 && tier.in_per_s < 0.05;
  return idle ? { word: "no traffic", mark: "○" } : { word: "open", mark: "●" };
}

/** ▲ more come than go, ▼ fewer, = level; nothing when nothing moves. */
export function trend({ waiting, in_per_s: inS, out_per_s: outS }) {
  if (inS < 0.05 && outS < 0.05) return "";
  if (waiting > 0 && inS > outS * GROWS && inS - outS >= 0.1) return "▲";
  if (waiting > 0 && outS > inS * GROWS && outS - inS >= 0.1) return "▼";
  return "=";
}

/** The waits as cells: the first percentile with too few requests says the worst wait and how few. */
export function waits({ wait }) {
  const cells = ["p50", "p95", "p99"].map((name) => ({ text: quantile(wait[name]), few: wait[name] == null }));
  const first = cells.find((cell) => cell.few);
  if (first && wait.n > 0) first.text = `worst ${seconds(wait.worst_s)}\nn=${wait.n}`;
  return cells;
}

/** Sentences for a tier: when it is full, or empty, and what it loses. */
export function sentences(tier) {
  const lost = losses(tier);
  return [sentence(tier), lost && `${tier.name} lost within a minute: ${lost}`].filter(Boolean);
}

function sentence(tier) {
  const difference = tier.in_per_s - tier.out_per_s;
  const by = rate(Math.abs(difference));
  if (trend(tier) === "▲") {
    const left = Math.max(0, tier.max_waiting - tier.waiting);
    return `${tier.name} grows by ${by}/s: full (${count(tier.max_waiting)}) in about ${about(left / difference)}`;
  }
  if (trend(tier) === "▼" && tier.waiting >= 20) {
    return `${tier.name} shrinks by ${by}/s: empty in about ${about(tier.waiting / -difference)}`;
  }
  return null;
}

/** Everything a row shows, as text. `agedS` is how much time went by since the frame, `tinted` what `tints` says. */
export function cells(tier, pool, agedS = 0, tinted = {}) {
  const oldestS = tier.oldest_s == null ? null : tier.oldest_s + agedS;
  const [p50, p95, p99] = waits(tier);
  const { word, mark } = state(tier);
  return {
    name: tier.name,
    priority: priority(tier.priority),
    state: `${mark} ${word}`,
    waiting: count(tier.waiting),
    in_flight: count(tier.in_flight),
    share: pool.limit ? percent(tier.in_flight / pool.limit) : ABSENT,
    oldest: (tinted.oldest ? "▲ " : "") + seconds(oldestS),
    p50: p50.text,
    p95: p95.text,
    p99: p99.text,
    rates: rates(tier),
    trend: trend(tier),
    tokens_per_s: count(tier.tokens_per_s),
    aged: count(tier.aged),
    overdue: count(tier.overdue),
    lost: count(lost(tier)),
    burn: times(tier.burn.m5),
    burn_1h: times(tier.burn.h1),
  };
}

/** The line of a sparkline in a box of 120 × 24; a gap stays a gap. */
export function sparkPath(values, most) {
  const top = Math.max(most, 1);
  const step = values.length > 1 ? 120 / (values.length - 1) : 0;
  let path = "";
  let pen = "M";
  values.forEach((value, i) => {
    if (value == null) {
      pen = "M";
      return;
    }
    path += `${pen}${(i * step).toFixed(1)},${(23 - (value / top) * 22).toFixed(1)}`;
    pen = "L";
  });
  return path;
}

/** Keeps one row a tier, in the frame's order; rows that stay keep their focus. */
export function patchRows(body, template, pool, { agedS, spark, head, shows, levels, colours }) {
  const allTokens = pool.tiers.reduce((sum, tier) => sum + tier.tokens_per_s, 0);
  pool.tiers.forEach((tier, rank) => {
    let row = body.querySelector(`[data-tier="${CSS.escape(tier.name)}"]`);
    if (!row) {
      row = template.content.firstElementChild.cloneNode(true);
      row.dataset.tier = tier.name;
    }
    if (body.children[rank] !== row) body.insertBefore(row, body.children[rank] ?? null);
    row.hidden = !shows(tier.name);
    const tokenShare = allTokens ? tier.tokens_per_s / allTokens : 0;
    patchRow(row, tier, pool, { agedS, rank, path: spark(tier.name), next: nextOf(tier, head), tokenShare, levels, colour: colours[tier.name] });
  });
  while (body.children.length > pool.tiers.length) body.lastElementChild.remove();
}

export function patchRow(row, tier, pool, { agedS, rank, path, next, tokenShare, levels, colour }) {
  const tinted = tints(tier, tier.oldest_s == null ? null : tier.oldest_s + agedS, levels);
  const says = cells(tier, pool, agedS, tinted);
  for (const [name, text] of Object.entries(says)) setText(row.querySelector(`[data-cell="${name}"]`), text);
  row.dataset.rank = rank % 5; // the dash of its line, as on the charts
  row.dataset.colour = colour ?? "";
  row.dataset.state = state(tier).word.replace(" ", "-");
  row.dataset.trend = says.trend === "▲" ? "growing" : "";
  row.querySelector(".oldest").dataset.tint = tinted.oldest;
  for (const name of ["waiting", "p50", "p95", "p99"]) row.querySelector(`[data-cell="${name}"]`).dataset.tint = tinted[name];
  waits(tier).forEach(({ few }, i) => row.querySelector(".waits").children[i].classList.toggle("few", few));
  for (const name of ["aged", "overdue", "lost"]) {
    row.querySelector(`[data-cell="${name}"]`).classList.toggle("zero", says[name] === "0");
  }
  row.querySelector('[data-cell="lost"]').search = new URLSearchParams({ pool: pool.name, tier: tier.name });
  row.querySelector(".spark path").setAttribute("d", path);
  const width = (bar, share) => row.querySelector(bar).setAttribute("width", `${Math.min(100, 100 * share).toFixed(1)}%`);
  width(".fill rect", tier.waiting / tier.max_waiting);
  width(".token-share rect", tokenShare);
  row.dataset.burns = tier.burn.m5 > 1 ? "yes" : "";
  setTitle(row.querySelector('[data-label="Waiting"]'), `${tokens(tier.waiting_tokens)} tokens wait; full at ${count(tier.max_waiting)}`);
  setTitle(row.querySelector(".oldest"), `target ${seconds(tier.target_wait_s)}, expires at ${seconds(tier.max_wait_s)}`);
  setTitle(row.querySelector('[data-label^="Wait p50"]'), `${count(tier.wait.n)} requests, the worst waited ${seconds(tier.wait.worst_s)}`);
  setTitle(row.querySelector('[data-label^="Lost"]'), losses(tier) || "nothing within a minute");
  setTitle(row.querySelector('[data-label="Overdue"]'), `${count(tier.rescued_per_min)} a minute are rescued`);
  setTitle(row.querySelector('[data-label^="Tokens"]'), `${percent(tokenShare)} of the pool's output tokens`);
  setTitle(row.querySelector('[data-label^="Burn"]'), "Share of requests over the target wait, by the 1 % allowed: above 1× the objective is missed");
  setTitle(row.querySelector("th"), next ?? "nobody of this tier would go now");
}
