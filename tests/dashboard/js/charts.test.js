import assert from "node:assert/strict";
import test from "node:test";

import * as charts from "../../../static/js/charts.js";
import { empty, push } from "../../../static/js/history.js";

const PALETTE = { text: "#111111", muted: "#222222", grid: "#333333", threshold: "#d55e00", "blue": "#0072b2", "amber": "#6b4201" };
const line = (name, y0) => ({ name, y0, y1: y0, label: { text: `${name} warn`, textposition: "start", yanchor: "bottom" }, line: {} });

const figure = () => ({
  data: [{ name: "realtime", line: { dash: "solid" } }, { name: "standard", line: { dash: "dash" } }],
  levels: [{ tier: "realtime", severity: "warn", pool: "", value: 2 }, { tier: "standard", severity: "warn", pool: "", value: 60 }],
  trace_roles: [{ "line.color": "blue" }, { "line.color": "amber" }],
  layout: { margin: { l: 50, r: 100, t: 8, b: 26 }, xaxis: {}, yaxis: {}, shapes: [line("realtime", 2), line("standard", 60)] },
  roles: { "font.color": "muted", "yaxis.gridcolor": "grid", "shapes[0].line.color": "threshold", "shapes[1].line.color": "threshold" },
});

const view = (more = {}) => ({
  kind: "wait", hidden: new Set(), utc: false, log: false, palette: PALETTE, nowS: 1000, sinceS: 100, zoom: null,
  pool: { name: "default" }, widthPx: 700, heightPx: 264, top: null, ...more,
});

function history(values) {
  const past = empty(2);
  values.forEach(([at, realtime, standard]) => {
    const tier = (name, p95) => ({ name, waiting: 0, oldest_s: null, wait: { p95: p95 == null ? null : { value_s: p95 } } });
    push(past, at, { tiers: [tier("realtime", realtime), tier("standard", standard)] });
  });
  return past;
}

test("every role becomes a colour of the theme", () => {
  const { layout, data } = charts.figureNow(figure(), history([[998, 1, 30]]), view());

  assert.equal(layout.font.color, "#222222");
  assert.equal(layout.shapes[1].line.color, "#d55e00");
  assert.deepEqual(data.map((trace) => trace.line), [{ dash: "solid", color: "#0072b2" }, { dash: "dash", color: "#6b4201" }]);
});

test("a gap reaches plotly as null", () => {
  const { data } = charts.figureNow(figure(), history([[900, 1, 2], [990, 3, 4]]), view());

  assert.deepEqual(data[0].y, [1, null, 3]);
});

test("the newest point is at the right end and the window follows the clock", () => {
  const { data, layout } = charts.figureNow(figure(), history([[998, 1, 2]]), view());

  assert.equal(data[0].x.at(-1), 998_000);
  assert.deepEqual(layout.xaxis.range, [100_000, 1_000_000]);
});

test("a zoomed chart keeps its range while data moves", () => {
  const { layout } = charts.figureNow(figure(), history([[998, 1, 2]]), view({ zoom: [1, 2] }));

  assert.deepEqual(layout.xaxis.range, [1, 2]);
});

test("UTC is sent as text without a zone, local time as a number", () => {
  assert.equal(charts.xOf(0, true), "1970-01-01T00:00:00.000");
  assert.equal(charts.xOf(2, false), 2000);
});

test("a hidden tier takes its threshold and its name with it, and moves no colour", () => {
  const { data, layout } = charts.figureNow(figure(), history([[998, 1, 30]]), view({ hidden: new Set(["realtime"]) }));

  assert.deepEqual(data.map((trace) => trace.visible), [false, true]);
  assert.deepEqual(layout.shapes.slice(0, 2).map((shape) => shape.visible), [false, true]);
  assert.equal(layout.annotations.length, 1);
  assert.equal(data[1].line.color, "#6b4201");
});

test("a rule of another pool draws no line", () => {
  const other = figure();
  other.levels[1].pool = "other";

  const { layout } = charts.figureNow(other, history([[998, 1, 30]]), view());

  assert.deepEqual(layout.shapes.slice(0, 2).map((shape) => shape.visible), [true, false]);
});

test("the axis holds the threshold nearest to the data", () => {
  assert.equal(charts.reach(40, [100, 1000]), 100);
  assert.equal(charts.reach(490, [100, 300, 2000]), 490);
  assert.equal(charts.reach(0, []), 0);
});

test("the axis grows at once and shrinks after half a minute", () => {
  const high = charts.yTop(null, 450, 0);

  const soon = charts.yTop(high, 20, 10);
  const later = charts.yTop(high, 20, 31);

  assert.equal(high.top, 500);
  assert.equal(soon.top, 500);
  assert.equal(later.top, 25);
  assert.ok(charts.yTop(later, 3000, 32).top >= 3000);
});

test("on the logarithmic axis no wait is lost below its floor and every target is in sight", () => {
  const { data, layout } = charts.figureNow(figure(), history([[998, 0, 30]]), view({ log: true }));

  assert.equal(data[0].y.at(-1), charts.FLOOR_S);
  assert.equal(data[0].text.at(-1), "0.00 s");
  assert.ok(layout.yaxis.range[1] > Math.log10(60));
});

test("ticks are round and at most six", () => {
  assert.deepEqual(charts.countTicks(500).map(([, text]) => text), ["0", "100", "200", "300", "400", "500"]);
  assert.deepEqual(charts.spanTicks(200).map(([, text]) => text), ["0", "1 min", "2 min", "3 min"]);
  for (const top of [0.3, 7, 61, 999, 12_345]) assert.ok(charts.spanTicks(top).length <= 6);
});

test("names at the lines' ends never touch and never leave the chart", () => {
  const ends = [0, 0.01, 0.02, 0.5, 0.99, 1].map((share) => ({ share }));

  const placed = charts.spread(ends, 200, 15).map(({ px }) => px);

  placed.slice(1).forEach((px, i) => assert.ok(px - placed[i] >= 15 - 1e-9));
  assert.ok(placed[0] >= 0 && placed.at(-1) <= 200);
});

test("thresholds that lie close share the words of the highest, each side for itself", () => {
  const level = (tier, severity, value) => ({ tier, severity, value });
  const levels = [level("background", "warn", 300), level("batch", "warn", 180), level("batch", "crit", 360), level("realtime", "warn", 2)];
  const words = (visible, more) => {
    const shapes = levels.map(({ tier, value }) => line(tier, value));
    charts.placeThresholds(shapes, levels, visible, { px: (value) => value / 20, say: String, narrow: false, ...more });
    return shapes.map(({ label }) => label.text);
  };

  assert.deepEqual(words([true, true, true, true]), ["background 300 +2 warn", "", "batch crit 360", ""]);
  assert.deepEqual(words([true, true, true, false]), ["batch 180 · background 300 warn", "", "batch crit 360", "realtime warn"]);
  assert.deepEqual(words([true, true, false, false], { narrow: true }).slice(0, 2), ["background 300 +1 warn", ""]);
  assert.deepEqual(words([true, true, true, true], { px: (value) => value }), ["background warn 300", "batch warn 180", "batch crit 360", "realtime warn 2"]);
});

test("a mark is a line over the whole chart with its words above, and one outside is left out", () => {
  const marks = [{ at: 500, text: "policy v42" }, { at: 50, text: "long ago" }, { at: 700, text: "paused background work" }, { at: 705, text: "policy v43" }];

  const { layout } = charts.figureNow(figure(), history([[998, 1, 30]]), view({ marks }));

  const lines = layout.shapes.filter((shape) => shape.x0 === 500_000);
  assert.deepEqual(lines.map(({ y0, y1, line }) => [y0, y1, line.dash]), [[0, 1, "dash"]]);
  const words = layout.annotations.filter(({ hovertext }) => hovertext).map(({ text, hovertext }) => [text, hovertext]);
  assert.deepEqual(words, [["policy v42", "policy v42"], ["policy v43 +1", "paused background work<br>policy v43"]]);
});

test("marks are put together anew for what a zoom shows, and tell all of them", () => {
  const marks = [{ at: 700, text: "policy v42" }, { at: 705, text: "policy v43" }, { at: 900, text: "deployed" }];
  const told = (zoom) => charts.figureNow(figure(), history([[998, 1, 30]]), view({ marks, zoom })).layout;

  assert.deepEqual(told(null).meta.marks.map((group) => group.length), [2, 1]);
  const near = told([690_000, 720_000]);
  assert.deepEqual(near.meta.marks, [[marks[0]], [marks[1]]]);
  assert.deepEqual(near.annotations.filter(({ name }) => name).map(({ text, name }) => [text, name]), [["policy v42", "0"], ["policy v43", "1"]]);
});

test("words of marks never lie on one another, and at the right end they stand before their line", () => {
  const at = (...moments) => {
    const marks = moments.map((moment) => ({ at: moment, text: "boosted 1 request" }));
    const { layout } = charts.figureNow(figure(), history([[998, 1, 30]]), view({ marks }));
    return layout.annotations.filter(({ hovertext }) => hovertext).map(({ text, xanchor }) => [text, xanchor]);
  };

  assert.deepEqual(at(300, 500), [["boosted 1 request", "left"], ["boosted 1 request", "left"]]);
  assert.deepEqual(at(300, 400), [["boosted 1 request +1", "left"]]); // 103 px of words, and 61 px between them
  assert.deepEqual(at(300, 995), [["boosted 1 request", "left"], ["boosted 1 request", "right"]]);
  assert.deepEqual(at(850, 995), [["boosted 1 request +1", "right"]]);
  assert.deepEqual(at(600, 800, 990), [["boosted 1 request +2", "left"]]); // the second grew, and turned round
});
