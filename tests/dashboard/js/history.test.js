import assert from "node:assert/strict";
import test from "node:test";

import { beginsS, WINDOW_S, column, empty, fromHist, merge, push, slices } from "../../../static/js/history.js";

const pool = (waiting, p95 = null) => ({
  tiers: [{ name: "standard", waiting, oldest_s: waiting, wait: { p95: p95 === null ? null : { value_s: p95, at_least: false } } }],
});

test("two frames of one step keep the larger value, so a spike survives", () => {
  const history = empty(2);

  push(history, 100, pool(900, 4));
  push(history, 101, pool(3, 5));

  assert.deepEqual(column(history, "standard", "waiting"), { at: [100], values: [900] });
  assert.deepEqual(column(history, "standard", "p95_s").values, [5]);
});

test("more than three seconds without a frame leave a hole in the line", () => {
  const history = empty(2);

  push(history, 101, pool(1));
  push(history, 109, pool(2));

  assert.deepEqual(column(history, "standard", "waiting"), { at: [100, 102, 108], values: [1, null, 2] });
});

test("one lost frame leaves none", () => {
  const history = empty(2);

  push(history, 101, pool(1));
  push(history, 103.2, pool(2));

  assert.deepEqual(column(history, "standard", "waiting").values, [1, 2]);
});

test("what is older than the window goes", () => {
  const history = empty(2);

  for (let at = 0; at <= WINDOW_S + 10; at++) push(history, at, pool(at));

  assert.equal(history.points[0].at, 10);
  assert.ok(history.points.length <= WINDOW_S / 2 + 1);
});

test("the server's history and what this page saw make one line", () => {
  const hist = { step_s: 2, at: [100, 102], until: 103, tiers: { standard: { waiting: [1, 2], oldest_s: [null, 1], p95_s: [null, null] } } };
  const own = empty(2);
  push(own, 102.5, pool(7));
  push(own, 104.5, pool(8));

  const merged = merge(fromHist(hist), own);

  assert.deepEqual(column(merged, "standard", "waiting"), { at: [100, 102, 104], values: [1, 2, 8] });
});

test("a page that comes back gets what it missed, between what it saw before and since", () => {
  const own = empty(2);
  for (const [at, waiting] of [[97, 4], [98, 5], [100, 6], [113, 9]]) push(own, at, pool(waiting));
  const missed = { step_s: 2, at: [100, 102, 104, 106], until: 107, tiers: { standard: { waiting: [6, 7, null, 8], oldest_s: [1, 1, null, 1], p95_s: [1, 1, null, 1] } } };

  const merged = merge(fromHist(missed), own);

  assert.deepEqual(column(merged, "standard", "waiting"), { at: [96, 98, 100, 102, 104, 106, 108, 112], values: [4, 5, 6, 7, null, 8, null, 9] });
});

test("what nobody stored stays a gap, and an empty answer takes nothing away", () => {
  const own = empty(2);
  push(own, 100, pool(6));
  const later = { step_s: 2, at: [110], until: 111, tiers: { standard: { waiting: [8], oldest_s: [1], p95_s: [1] } } };

  assert.deepEqual(column(merge(fromHist(later), own), "standard", "waiting"), { at: [100, 102, 110], values: [6, null, 8] });
  assert.deepEqual(column(merge(fromHist({ step_s: 2, at: [], tiers: {} }), own), "standard", "waiting").values, [6]);
});

test("a gap that the server sent stays one when more is appended", () => {
  const hist = { step_s: 2, at: [100, 102, 130], until: 131, tiers: { standard: { waiting: [1, null, 2], oldest_s: [null, null, 1], p95_s: [null, null, 3] } } };

  const merged = merge(fromHist(hist), empty(2));
  push(merged, 132.1, pool(3));

  assert.deepEqual(column(merged, "standard", "waiting").values, [1, null, 2, 3]);
});

test("the table behind a chart holds the largest value of each half minute, newest first", () => {
  const history = empty(2);
  for (const [at, waiting] of [[60, 5], [70, 50], [80, 1], [92, 7]]) push(history, at, pool(waiting));

  assert.deepEqual(slices(history, ["standard", "batch"], "waiting"), [
    { at: 90, values: [7, null] },
    { at: 60, values: [50, null] },
  ]);
});

test("a gap between the last stored sample and the first frame after it is seen to the second", () => {
  const hist = (until) => ({ step_s: 2, at: [100], until, tiers: { standard: { waiting: [1], oldest_s: [1], p95_s: [1] } } });
  const [long, short] = [merge(fromHist(hist(100)), empty(2)), merge(fromHist(hist(101.9)), empty(2))];

  push(long, 104.02, pool(2));
  push(short, 104.02, pool(2));

  assert.deepEqual(column(long, "standard", "waiting").values, [1, null, 2]);
  assert.deepEqual(column(short, "standard", "waiting").values, [1, 2]);
});

test("a young history fills the chart from three minutes on, an old one shows its last quarter of an hour", () => {
  const of = (at) => ({ stepS: 2, points: [{ at, last: at, tiers: {} }] });
  assert.equal(beginsS(empty(), 1000), 820);
  assert.equal(beginsS(of(990), 1000), 820);
  assert.equal(beginsS(of(600), 1000), 600);
  assert.equal(beginsS(of(0), 1000), 100);
});
