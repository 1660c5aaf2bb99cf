// What a wall board says, pure: its tiles, and when it must look broken.

import { isStale } from "./link.js";
import { tints } from "./levels.js";
import { cells as rowCells, state } from "./tiers.js";
import { timeOfDay } from "./units.js";

const PATIENCE_MS = 5_000; // a page that has just been opened may wait for its first frame
const RELOAD_HOUR = 4;
const SPREAD_MS = 600_000; // not all screens of a house at once

/** One tier, large. @param {(tier: string, metric: string) => object} levels the rules' thresholds */
export function tile(tier, pool, agedS, levels) {
  const tinted = tints(tier, tier.oldest_s == null ? null : tier.oldest_s + agedS, levels);
  const { name, priority, state: word, waiting, oldest, p95 } = rowCells(tier, pool, agedS, tinted);
  return {
    cells: { name, priority, state: word, waiting, oldest, p95: p95.replace("\n", " ") },
    state: state(tier).word.replace(" ", "-"),
    tint: tinted.oldest,
  };
}

/** @returns {{forMs: number, why: string}|null} null while what the screen shows is true */
export function noData(link, ageMs, openMs) {
  if (link.state === "signed-out") return { forMs: ageMs ?? openMs, why: "This board was revoked or has expired. Ask an admin for another link." };
  if (link.state === "forbidden") return { forMs: ageMs ?? openMs, why: "This board may not be shown." };
  if (ageMs == null) return openMs > PATIENCE_MS ? { forMs: openMs, why: "Nothing has come since this page was opened." } : null;
  if (!isStale(ageMs)) return null;
  return { forMs: ageMs, why: link.state === "open" ? "The connection is open, but the gateway sends nothing." : "The connection is lost. Trying again…" };
}

/** "00:12", and from an hour on "1:02:03". */
export function countdown(ms) {
  const s = Math.floor(ms / 1000);
  const two = (n) => String(n).padStart(2, "0");
  const rest = `${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`;
  return s < 3600 ? rest : `${Math.floor(s / 3600)}:${rest}`;
}

/** Until a little after four in the morning, by this computer's clock. */
export function reloadInMs(now, chance) {
  const at = new Date(now);
  at.setHours(RELOAD_HOUR, 0, 0, 0);
  if (at <= now) at.setDate(at.getDate() + 1);
  return at - now + chance * SPREAD_MS;
}

/** What people ordered and what is wrong, as sentences. */
export function news({ overrides = [] }, alerts, pool, utc) {
  const verbs = { pause: "\u2016 paused", drain: "\u25bc draining", move: "moved" };
  const open = alerts && alerts.crit + alerts.warn > 0 ? [`\u25b2 open alerts: ${alerts.crit} crit, ${alerts.warn} warn`] : [];
  const orders = overrides
    .filter((one) => !one.pool || one.pool === pool)
    .map((one) => `${verbs[one.verb] ?? one.verb} ${one.verb === "move" ? `${one.tenant} to ${one.tier}` : one.tier} by ${one.by} until ${timeOfDay(one.ends_at * 1000, utc).slice(0, 5)}`);
  return [...open, ...orders];
}
