// The last quarter of an hour, as points to draw: pure, no page.  Maxima survive, and gaps stay gaps.

export const WINDOW_S = 900;
const YOUNG_S = 180;
const GAP_S = 3;
const COLUMNS = ["waiting", "oldest_s", "p95_s"];

/** @typedef {{at: number, last: number, tiers: Object<string, Object<string, number|null>>|null}} Point */

/** @returns {{stepS: number, points: Point[]}} nothing yet */
export const empty = (stepS = 2) => ({ stepS, points: [] });

/** Turn the columns of a `hist` message into points; `tiers: null` marks a gap. */
export function fromHist(hist) {
  const names = Object.keys(hist.tiers);
  const points = hist.at.map((at, i) => {
    const tiers = Object.fromEntries(
      names.map((name) => [name, Object.fromEntries(COLUMNS.map((c) => [c, hist.tiers[name][c]?.[i] ?? null]))]),
    );
    const anything = names.some((name) => tiers[name].waiting != null);
    return { at, last: at, tiers: anything ? tiers : null };
  });
  if (points.length > 0) points.at(-1).last = hist.until;
  return { stepS: hist.step_s, points };
}

/**
 * What this page saw, and in its midst or before it the server's history: all of it, or what the page missed.
 * After its end stands what only this page saw, for samples are stored a little late.
 */
export function merge(history, own) {
  const [first, ...rest] = history.points;
  if (!first) return { ...own, points: [...own.points] };
  const merged = { stepS: history.stepS, points: own.points.filter(({ at }) => at < first.at) };
  append(merged, first);
  merged.points.push(...rest);
  const end = history.points.at(-1).at;
  for (const point of own.points) if (point.tiers && point.at > end) append(merged, point);
  return merged;
}

/** Add a pool's state at `at` (unix seconds) to `history`, in place. */
export function push(history, at, pool) {
  const tiers = Object.fromEntries(
    pool.tiers.map((t) => [
      t.name,
      { waiting: t.waiting, oldest_s: t.oldest_s, p95_s: t.wait.p95?.value_s ?? null },
    ]),
  );
  const bucket = Math.floor(at / history.stepS) * history.stepS;
  append(history, { at: bucket, last: at, tiers });
  const oldest = at - WINDOW_S;
  const keep = history.points.findIndex((p) => p.at >= oldest);
  if (keep > 0) history.points.splice(0, keep);
}

function append(history, point) {
  const last = history.points.at(-1);
  if (last?.tiers && last.at === point.at) {
    for (const [name, values] of Object.entries(point.tiers)) {
      const kept = (last.tiers[name] ??= {});
      for (const c of COLUMNS) kept[c] = larger(kept[c], values[c]);
    }
    last.last = point.last;
    return;
  }
  // A whole step lies between two points that follow one another; more than 3 s unseen is a gap.
  if (last?.tiers && point.at - last.at > history.stepS && point.at - last.last > GAP_S) {
    history.points.push({ at: last.at + history.stepS, last: last.last, tiers: null });
  }
  history.points.push(point);
}

/** Where a chart begins: a quarter of an hour ago; later while there is less to show than that. */
export const beginsS = (history, nowS) =>
  Math.max(nowS - WINDOW_S, Math.min(history.points[0]?.at ?? nowS, nowS - YOUNG_S));

const larger = (a, b) => (a == null ? (b ?? null) : b == null ? a : Math.max(a, b));

/** One column of one tier. @returns {{at: number[], values: (number|null)[]}} */
export function column(history, tier, key, sinceS = -Infinity) {
  const points = history.points.filter((p) => p.at >= sinceS);
  return { at: points.map((p) => p.at), values: points.map((p) => p.tiers?.[tier]?.[key] ?? null) };
}

/** The table behind a chart: the newest slice first, each the maximum of its `everyS` seconds. */
export function slices(history, tiers, key, everyS = 30) {
  const rows = new Map();
  for (const { at, tiers: values } of history.points) {
    const start = Math.floor(at / everyS) * everyS;
    const row = rows.get(start) ?? tiers.map(() => null);
    rows.set(start, row.map((v, i) => larger(v, values?.[tiers[i]]?.[key])));
  }
  return [...rows].sort(([a], [b]) => b - a).map(([at, values]) => ({ at, values }));
}
