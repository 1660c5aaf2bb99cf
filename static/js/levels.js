// The rules' thresholds, as cells are tinted by them; the lines on the charts are the same ones.

/** @returns {{warn?: number, crit?: number}} of one metric of a tier; of several rules the strictest */
export function levelsOf(lines, pool, tier, metric) {
  const found = {};
  for (const line of lines) {
    if (line.tier !== tier || line.metric !== metric || (line.pool && line.pool !== pool)) continue;
    found[line.severity] = Math.min(found[line.severity] ?? Infinity, line.value);
  }
  return found;
}

/** "", "warn" or "crit". */
export function tint(value, { warn, crit }) {
  if (value == null) return "";
  if (crit !== undefined && value > 0 && value >= crit) return "crit";
  return warn !== undefined && value > 0 && value >= warn ? "warn" : "";
}

/** Tints of a row by cell.  Where no rule is about the oldest itself, those about p95 are. */
export function tints(tier, oldestS, of) {
  const own = of(tier.name, "oldest");
  const oldest = Object.keys(own).length ? own : of(tier.name, "wait_p95");
  return {
    oldest: tint(oldestS, oldest),
    waiting: tint(tier.waiting, of(tier.name, "queue")),
    p50: tint(tier.wait.p50?.value_s, of(tier.name, "wait_p50")),
    p95: tint(tier.wait.p95?.value_s, of(tier.name, "wait_p95")),
    p99: tint(tier.wait.p99?.value_s, of(tier.name, "wait_p99")),
  };
}
