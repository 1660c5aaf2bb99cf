// From history to what Plotly draws: pure functions, and `draw`, which alone touches the page.

import { column } from "./history.js";
import { ABSENT, count, seconds, span } from "./units.js";

// Shorter waits are drawn at 10 ms: a logarithm has no zero.
export const FLOOR_S = 0.01;
const CALM_S = 30;
const LABEL_PX = 15;
const LINE_PX = 13;
const NARROW_PX = 420;
const LETTER_PX = 5.8; // of a mark's words, on average

/** What differs between the two charts. */
export const KINDS = {
  queue: { key: "waiting", say: count, limit: count, ticks: countTicks, least: 10 },
  wait: { key: "p95_s", say: seconds, limit: span, ticks: spanTicks, least: 1 },
};

/** Numbers show in the browser's zone, ISO strings without a zone as they are written: UTC. */
export const xOf = (atS, utc) => (utc ? new Date(atS * 1000).toISOString().slice(0, -1) : atS * 1000);

/** What plotly says of an x range, as unix seconds: ISO text without a zone is in the zone shown. */
export const momentS = (x, utc) => (typeof x === "number" ? x : Date.parse(String(x).replace(" ", "T") + (utc ? "Z" : ""))) / 1000;

/** @returns {object[]} the figure's traces with data; hidden tiers keep their place, so colours never move */
export function traces(figure, history, { kind, hidden, utc, log, palette, sinceS }) {
  const { key, say } = KINDS[kind];
  return figure.data.map((template, i) => {
    const { at, values } = column(history, template.name, key, sinceS - history.stepS);
    return {
      ...template,
      visible: !hidden.has(template.name),
      line: { ...template.line, color: palette[figure.trace_roles[i]["line.color"]] },
      x: at.map((t) => xOf(t, utc)),
      y: log ? values.map((v) => (v == null ? null : Math.max(FLOOR_S, v))) : values,
      text: values.map((v) => (v == null ? ABSENT : say(v))),
    };
  });
}

/** How high the axis must reach: over the data, and far enough to hold the threshold nearest to it. */
export function reach(highest, thresholds) {
  const nearest = thresholds.toSorted((a, b) => Math.abs(a - highest) - Math.abs(b - highest))[0];
  return Math.max(highest, nearest ?? 0);
}

/** The top of the y axis: grows at once, shrinks when it was calm for half a minute. */
export function yTop(before, wanted, nowS) {
  const top = roundUp(wanted * 1.08);
  if (!before || top >= before.top) return { top, calmSince: nowS };
  return nowS - before.calmSince >= CALM_S ? { top, calmSince: nowS } : before;
}

function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((n) => n * power >= value * 0.9999) * power;
}

export function countTicks(top) {
  const step = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000].find((s) => top / s <= 5) ?? top / 5;
  return stepped(top, step).map((value) => [value, count(value)]);
}

export function spanTicks(top) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400];
  const step = steps.find((s) => top / s <= 5) ?? top / 5;
  return stepped(top, step).map((value) => [value, value === 0 ? "0" : span(value)]);
}

const stepped = (top, step) =>
  Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(12)));

export function logTicks(top) {
  const marks = [0.01, 0.1, 1, 10, 60, 600, 3600, 36_000].filter((value) => value <= top);
  return marks.map((value) => [value, span(value)]);
}

/** @returns {object} plotly's y axis, and `share`: a value's height from 0 to 1 */
export function yAxis(top, log, ticks) {
  const marks = log ? logTicks(top) : ticks(top);
  const low = log ? Math.log10(FLOOR_S) - 0.08 : 0;
  const high = log ? Math.log10(top) : top;
  const share = (value) => ((log ? Math.log10(Math.max(FLOOR_S, value)) : value) - low) / (high - low);
  const axis = {
    type: log ? "log" : "linear",
    range: [low, high],
    tickmode: "array",
    tickvals: marks.map(([value]) => value),
    ticktext: marks.map(([, text]) => text),
  };
  return { axis, share };
}

/**
 * Where the names at the lines' ends stand: beside their line, moved apart where they would touch.
 * @param {{share: number}[]} ends heights from 0 to 1
 */
export function spread(ends, heightPx, gapPx = LABEL_PX) {
  const wanted = ends.map((end) => ({ ...end, px: end.share * heightPx })).sort((a, b) => a.px - b.px);
  // Names that touch become a block around the mean of where they want to be; blocks that touch merge.
  const blocks = [];
  for (const end of wanted) {
    blocks.push({ names: [end], middle: end.px });
    while (blocks.length > 1 && top(blocks.at(-2)) + gapPx > bottom(blocks.at(-1))) {
      const names = [...blocks.at(-2).names, ...blocks.at(-1).names];
      blocks.splice(-2, 2, { names, middle: names.reduce((sum, { px }) => sum + px, 0) / names.length });
    }
  }
  function half({ names }) {
    return ((names.length - 1) * gapPx) / 2;
  }
  function bottom(block) {
    return Math.max(half(block), Math.min(heightPx - half(block), block.middle)) - half(block);
  }
  function top(block) {
    return bottom(block) + 2 * half(block);
  }
  return blocks.flatMap((block) =>
    block.names.map((end, i) => ({ ...end, px: bottom(block) + i * gapPx, at: (bottom(block) + i * gapPx) / heightPx })),
  );
}

/** Names at the ends of the lines, with a short line in the tier's colour that leads to each. */
export function endLabels(ends, widthPx, heightPx, palette) {
  const placed = spread(ends, heightPx);
  const x = (px) => (1 + px / widthPx).toFixed(5);
  return {
    annotations: placed.map(({ text, at }) => ({
      text, x: 1, xref: "paper", xanchor: "left", xshift: 17, y: at, yref: "paper", yanchor: "middle",
      showarrow: false, font: { size: 11, color: palette.text },
    })),
    shapes: placed.map(({ share, at, role }) => ({
      type: "path", xref: "paper", yref: "paper", layer: "above",
      path: `M${x(2)},${clip(share)} L${x(14)},${at}`,
      line: { color: palette[role], width: 1.75 },
    })),
  };
}

const clip = (share) => Math.min(1, Math.max(0, share));

/** Moments that explain a curve: a line from top to bottom, in words above the plot, where no threshold's are; a click on the words tells all of them. */
export function markShapes(marks, { sinceS, nowS, utc, palette }, innerPx) {
  const within = marks.filter(({ at }) => at >= sinceS && at <= nowS);
  const groups = [];
  for (const mark of within) {
    const px = ((mark.at - sinceS) / (nowS - sinceS)) * innerPx;
    groups.push({ at: mark.at, px, texts: [plain(mark.text)], marks: [mark] });
    // Words that would lie on others join them, which makes those longer: they may lie on the ones before.
    while (groups.length > 1 && spanPx(groups.at(-1), innerPx)[0] < spanPx(groups.at(-2), innerPx)[1]) {
      const { texts, marks: told } = groups.pop();
      groups.at(-1).texts.push(...texts);
      groups.at(-1).marks.push(...told);
    }
  }
  return {
    shapes: within.map(({ at }) => ({
      type: "line", xref: "x", x0: xOf(at, utc), x1: xOf(at, utc), yref: "paper", y0: 0, y1: 1, layer: "between",
      line: { color: palette.muted, width: 1, dash: "dash" },
    })),
    groups: groups.map((group) => group.marks),
    annotations: groups.map((group, i) => ({
      name: String(i), captureevents: true,
      x: xOf(group.at, utc), xref: "x", ...(isBefore(group, innerPx) ? { xanchor: "right", xshift: -2 } : { xanchor: "left", xshift: 2 }),
      y: 1, yref: "paper", yanchor: "bottom", showarrow: false,
      text: inShort(group.texts), hovertext: group.texts.join("<br>"), font: { size: 10, color: palette.muted },
    })),
  };
}

const inShort = (texts) => (texts.length > 1 ? `${shortened(texts.at(-1))} +${texts.length - 1}` : shortened(texts[0]));
const widthPx = ({ texts }) => inShort(texts).length * LETTER_PX + 6;
// At the right end of the chart they stand before their line.
const isBefore = (group, innerPx) => group.px + widthPx(group) > innerPx && group.px >= widthPx(group);
const spanPx = (group, innerPx) => (isBefore(group, innerPx) ? [group.px - widthPx(group), group.px] : [group.px, group.px + widthPx(group)]);

// Plotly reads a little markup, and names in these words are people's own.
const plain = (text) => text.replaceAll("<", "\u2039");
const shortened = (text) => (text.length > 18 ? `${text.slice(0, 17)}…` : text);

/** Colours for the layout's roles, in place of nothing: CSS variables are no colours to plotly. */
export function coloured(layout, roles, palette) {
  const out = structuredClone(layout);
  for (const [path, role] of Object.entries(roles)) {
    const keys = path.split(/[.[\]]+/).filter(Boolean);
    const last = keys.pop();
    const target = keys.reduce((node, key) => (node[key] ??= {}), out);
    target[last] = palette[role];
  }
  return out;
}

/** The whole figure for this moment. `view.top` carries the y axis from one call to the next. */
export function figureNow(figure, history, view) {
  const { kind, hidden, utc, log, palette, nowS, sinceS, zoom, pool, widthPx, heightPx, marks = [] } = view;
  const data = traces(figure, history, view);
  const shown = data.filter((trace) => trace.visible);
  const highest = Math.max(0, ...shown.flatMap((trace) => trace.y.filter((v) => v != null)));
  const crossing = figure.levels.map((level) => !hidden.has(level.tier) && (!level.pool || level.pool === pool?.name));
  const levels = figure.levels.filter((_, i) => crossing[i]);
  const limits = levels.map(({ value }) => value);
  const { least, limit, ticks } = KINDS[kind];
  const top = log
    ? { top: Math.max(least, highest, ...limits) * 1.9, calmSince: nowS }
    : yTop(view.top, Math.max(least, reach(highest, limits)), nowS);
  const { axis, share } = yAxis(top.top, log, ticks);

  const layout = coloured(figure.layout, figure.roles, palette);
  layout.meta = { levels }; // for threshold.js; the marks, for panels.js
  Object.assign(layout.yaxis, axis);
  layout.xaxis.range = zoom ?? [xOf(sinceS, utc), xOf(nowS, utc)];
  const innerPx = heightPx - layout.margin.t - layout.margin.b;
  const narrow = widthPx < NARROW_PX;
  placeThresholds(layout.shapes, figure.levels, crossing, { px: (value) => share(value) * innerPx, say: limit, narrow });
  if (narrow) {
    layout.margin.r = 8;
  } else {
    const ends = shown.flatMap((trace) => endOf(trace, figure, share, view));
    layout.margin.r = marginFor(ends);
    const labels = endLabels(ends, widthPx - layout.margin.l - layout.margin.r, innerPx, palette);
    layout.annotations = labels.annotations;
    layout.shapes.push(...labels.shapes);
  }
  const [fromS, toS] = zoom ? zoom.map((x) => momentS(x, utc)) : [sinceS, nowS];
  const told = markShapes(marks, { ...view, sinceS: fromS, nowS: toS }, widthPx - layout.margin.l - layout.margin.r);
  layout.meta.marks = told.groups;
  layout.shapes.push(...told.shapes);
  layout.annotations = [...(layout.annotations ?? []), ...told.annotations];
  return { data, layout, top };
}

/** Room for the longest name, in steps, so that the chart does not breathe with every digit. */
function marginFor(ends) {
  const letters = Math.max(8, ...ends.map(({ text }) => text.length));
  return 26 + Math.ceil(letters / 4) * 4 * 6.6;
}

/**
 * A threshold's words stand above its line, warn's at its start and crit's at its end. Lines too close for words of
 * their own share those of the highest: two are named, of more the highest and how many lie just below.
 */
export function placeThresholds(shapes, levels, visible, { px, say, narrow }) {
  shapes.forEach((shape, i) => {
    shape.visible = visible[i];
  });
  for (const severity of ["warn", "crit"]) {
    const lines = levels
      .map((level, i) => ({ ...level, shape: shapes[i], px: px(level.value) }))
      .filter((line, i) => visible[i] && line.severity === severity)
      .sort((a, b) => b.value - a.value);
    const groups = [];
    for (const line of lines) {
      if (groups.length && groups.at(-1).at(-1).px - line.px < LINE_PX) groups.at(-1).push(line);
      else groups.push([line]);
    }
    for (const group of groups) {
      group.forEach(({ shape }) => (shape.label.text = ""));
      group[0].shape.label.text = wordsOf(group, severity, say, narrow);
    }
  }
}

function wordsOf(group, severity, say, narrow) {
  const [highest, second] = group.map(({ tier, value }) => `${tier} ${say(value)}`);
  if (group.length === 1) return `${group[0].tier} ${severity} ${say(group[0].value)}`;
  return group.length === 2 && !narrow ? `${second} · ${highest} ${severity}` : `${highest} +${group.length - 1} ${severity}`;
}

function endOf(trace, figure, share, { latest }) {
  const value = trace.y.at(-1);
  if (!value) return []; // nothing known, or an empty queue: its line lies on the axis
  const rank = figure.data.findIndex((template) => template.name === trace.name);
  const text = `${trace.name} ${latest?.[trace.name] ?? trace.text.at(-1)}`;
  return [{ share: share(value), text, role: figure.trace_roles[rank]["line.color"] }];
}

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: false, scrollZoom: false, showTips: false };

/** Draw; a chart that is being dragged or that nobody sees is left alone. */
export function draw(element, { data, layout }) {
  if (element._dragging) return;
  globalThis.Plotly.react(element, data, layout, CONFIG);
}
