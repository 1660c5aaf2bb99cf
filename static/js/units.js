// Seconds, counts and shares as people read them; dashboard/units/shown.py says the same.

export const ABSENT = "–";
const THIN_SPACE = "\u2009";
const MINUS = "\u2212";
const two = (n) => String(n).padStart(2, "0");

/** A span with as many digits as help: 0.02 s, 4.1 s, 42 s, 2m31s, 1h04m, 2d03h. */
export function seconds(value) {
  if (value == null) return ABSENT;
  if (value < 0.995) return `${value.toFixed(2)} s`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
  return `${Math.floor(minutes / 1440)}d${two(Math.floor((minutes % 1440) / 60))}h`;
}

/** A span somebody chose, so mostly round: 2 s, 1 min, 1.5 min, 3 h. */
export function span(value) {
  for (const [unitS, unit] of [[86_400, "d"], [3600, "h"], [60, "min"]]) {
    if (value >= unitS) return `${Number((value / unitS).toPrecision(3))} ${unit}`;
  }
  return `${Number(value.toPrecision(3))} s`;
}

/** A whole number, thousands set apart by a thin space. */
export function count(value) {
  if (value == null) return ABSENT;
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, THIN_SPACE);
}

/** A number of tokens in a narrow column: 700, 1.2k, 41M. */
export function tokens(value) {
  if (value == null) return ABSENT;
  for (const [size, unit] of [[1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${(value / size).toFixed(value < 9.95 * size ? 1 : 0)}${unit}`;
  }
  return String(Math.round(value));
}

export const percent = (share) => (share == null ? ABSENT : `${(share * 100).toFixed(0)} %`);

/** Events a second. */
export function rate(perS) {
  if (perS == null) return ABSENT;
  return perS < 9.95 ? perS.toFixed(1) : count(perS);
}

/** How many times what is allowed: 0.2×, 7.2×, 51×. */
export const times = (n) => (n == null ? ABSENT : `${n < 9.95 ? n.toFixed(1) : Math.round(n)}\u00d7`);

/** A priority with a real minus sign: it stands beside its tier's name, always. */
export const priority = (n) => (n < 0 ? MINUS + -n : String(n));

/** A percentile: `≥` where those still waiting make it a lower bound. */
export function quantile(q) {
  return q == null ? ABSENT : (q.at_least ? "≥\u00a0" : "") + seconds(q.value_s);
}

/** Why a request stands where it does, as a sum: "standard 0 + 5 aged + 2 boost = 7". */
export function sum({ tier, priority: own, aged, boost, effective_priority: effective }) {
  const parts = [aged ? ` + ${aged} aged` : "", boost ? ` ${boost < 0 ? MINUS : "+"} ${Math.abs(boost)} boost` : ""].join("");
  return `${tier} ${priority(own)}${parts}${parts && ` = ${priority(effective)}`}`;
}

/** An expectation as a range: "0-1 s", "12-30 s", "2m10s-4m". */
export function range(low, high) {
  const [from, to] = [Math.floor(low), Math.ceil(high)];
  if (from >= to) return seconds(to);
  return to < 60 ? `${from}\u2013${to} s` : `${from === 0 ? "0 s" : seconds(from)}\u2013${seconds(to)}`;
}

/** 11:24:03, here or in UTC. */
export function timeOfDay(atMs, utc) {
  const moment = new Date(atMs);
  return utc
    ? moment.toISOString().slice(11, 19)
    : [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(two).join(":");
}

/** A duration in words for a sentence that promises nothing: "3 min", "40 s". */
export function about(s) {
  if (s < 90) return `${Math.max(5, Math.round(s / 5) * 5)} s`;
  return s < 5400 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}
