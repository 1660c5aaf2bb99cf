// What somebody looks at, as it stands in the address: pure.  Back works, and a link shows another the same.

export const RANGES = { "5m": 300, "15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400 };
export const FILTERS = ["tier", "tenant", "task", "key", "model"];
const USUAL = { range: "15m", pct: "5m", density: "" };

const words = (text) => (text ?? "").split(",").map((word) => word.trim()).filter(Boolean);
const iso = (atS) => new Date(atS * 1000).toISOString().replace(/\.\d+Z$/, "Z");

/** @param {string} search the address from its question mark on; what cannot be read is as usual */
export function read(search) {
  const query = new URLSearchParams(search);
  const [from, to] = ["from", "to"].map((name) => Date.parse(query.get(name) ?? "") / 1000);
  return {
    pool: query.get("pool") ?? "",
    filter: Object.fromEntries(FILTERS.map((name) => [name, words(query.get(name))])),
    range: query.get("range") in RANGES ? query.get("range") : USUAL.range,
    span: from < to ? [from, to] : null,
    pct: query.get("pct") === "1m" ? "1m" : USUAL.pct,
    density: query.get("density") === "compact" ? "compact" : USUAL.density,
  };
}

/** @returns {string} the address of a view; what it does not know (zone, theme) stays as it is in `search` */
export function write(view, search = "") {
  const query = new URLSearchParams(search);
  const set = (name, value) => (value ? query.set(name, value) : query.delete(name));
  set("pool", view.pool);
  for (const name of FILTERS) set(name, view.filter[name].join(","));
  for (const name of ["range", "pct", "density"]) set(name, view[name] === USUAL[name] ? "" : view[name]);
  set("from", view.span && iso(view.span[0]));
  set("to", view.span && iso(view.span[1]));
  if (view.span) query.delete("range");
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return text && `?${text}`;
}

export const isFiltered = ({ filter }) => FILTERS.some((name) => filter[name].length > 0);

/** Whether a tier is wanted; only the tier's filter says anything about tiers. */
export const shows = ({ filter }, tier) => filter.tier.length === 0 || filter.tier.includes(tier);

/** What the charts span: the range that ends now, or the one that was named. @returns {[number, number]} unix seconds */
export function spanOf({ range, span }, nowS) {
  return span ?? [nowS - RANGES[range], nowS];
}

/** The same view at moments that stay: what a link shows to somebody who opens it tomorrow. */
export const pinned = (view, nowS) => ({ ...view, span: spanOf(view, nowS).map(Math.round) });

/** Half a range earlier (-1) or later (1); one that would end in the future follows the clock again. */
export function shifted(view, way, nowS) {
  const [from, to] = spanOf(view, nowS);
  const by = ((to - from) / 2) * way;
  if (to + by >= nowS) return { ...view, span: null, range: nearest(to - from) };
  return { ...view, span: [from + by, to + by].map(Math.round) };
}

const nearest = (lengthS) =>
  Object.keys(RANGES).reduce((best, name) => (Math.abs(RANGES[name] - lengthS) < Math.abs(RANGES[best] - lengthS) ? name : best));

/** The filter in words, for the head of the list. */
export function inWords({ filter }) {
  return FILTERS.filter((name) => filter[name].length).map((name) => `${name} = ${filter[name].join(" or ")}`).join(", ");
}
