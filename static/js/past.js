// A past longer than this page has seen: asked of the server, as points to draw.

import { merge } from "./history.js";
import { RANGES } from "./view.js";

const OWN_S = RANGES["15m"]; // what the socket brings anyway
const RENEW_MS = 10_000;

/** Turn `/live/history/` into points: the most of each step, so that no spike is lost; `tiers: null` marks a gap. */
export function fromPast({ step_s: stepS, at, tiers }) {
  const names = Object.keys(tiers);
  const points = at.map((ms, i) => {
    const start = ms / 1000;
    const of = (name) => {
      const columns = tiers[name];
      const first = (...keys) => keys.map((key) => columns[key]?.[i]).find((value) => value != null) ?? null;
      return { waiting: first("waiting_max", "waiting"), oldest_s: first("oldest_max"), p95_s: first("p95_max", "p95") };
    };
    const values = Object.fromEntries(names.map((name) => [name, of(name)]));
    const seen = names.some((name) => values[name].waiting != null);
    return { at: start, last: start + stepS, tiers: seen ? values : null };
  });
  return { stepS, points };
}

/** The moments to mark, once each, in unix seconds; the past knows more of them than a frame does. */
export function marksOf(...lists) {
  const seen = new Map();
  for (const mark of lists.flat()) {
    const key = `${Math.round(mark.at)} ${mark.text}`;
    seen.set(key, { ...seen.get(key), ...mark });
  }
  return [...seen.values()].sort((a, b) => a.at - b.at);
}

/** Asks for what the view needs beyond the page's own history. */
export function pastOf(address, redraw, now = () => performance.now()) {
  let held = null; // {key, history, marks, atMs}
  let asking = "";

  async function ask(key, query) {
    asking = key;
    const answer = await fetch(`${address}?${query}`).catch(() => null);
    if (asking !== key) return; // somebody chose another range meanwhile
    asking = "";
    if (!answer?.ok || answer.redirected) {
      held = { ...(held?.key === key ? held : { key, history: null, marks: [] }), atMs: now() };
      return;
    }
    const body = await answer.json();
    const marks = body.marks.map((mark) => ({ ...mark, at: mark.at / 1000 }));
    held = { key, history: fromPast(body), marks, atMs: now() };
    redraw();
  }

  /** @returns {{history: object, marks: object[]}} what to draw for `view` at this moment */
  return (view, pool, own) => {
    if (!view.span && RANGES[view.range] <= OWN_S) return { history: own, marks: [] };
    const query = new URLSearchParams({ pool });
    if (view.span) {
      query.set("from", Math.round(view.span[0] * 1000));
      query.set("to", Math.round(view.span[1] * 1000));
    } else query.set("range", view.range);
    const key = query.toString();
    const old = held?.key === key && (view.span !== null || now() - held.atMs < RENEW_MS);
    if (!old && asking !== key && !document.hidden) ask(key, query);
    if (held?.key !== key || !held.history) return { history: { ...own, points: [] }, marks: [] };
    const history = view.span ? held.history : merge(held.history, own);
    return { history, marks: held.marks };
  };
}

