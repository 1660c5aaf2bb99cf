import assert from "node:assert/strict";
import test from "node:test";

import { query, says } from "../../../static/js/filtered.js";
import { isTyped, meaning } from "../../../static/js/keys.js";
import { isDue } from "../../../static/js/polling.js";
import { fromPast, marksOf } from "../../../static/js/past.js";
import { fieldOf, momentOf } from "../../../static/js/toolbar.js";
import { inWords, isFiltered, pinned, read, shifted, shows, spanOf, write } from "../../../static/js/view.js";

const SHARED = "?pool=chat&tier=standard,batch&tenant=acme&pct=1m&density=compact&from=2026-11-22T10:00:00Z&to=2026-11-22T11:00:00Z";

test("an address says what somebody looked at, and the same address comes of it", () => {
  const view = read(SHARED);

  assert.deepEqual(view.filter.tier, ["standard", "batch"]);
  assert.deepEqual(view.span, [Date.UTC(2026, 10, 22, 10) / 1000, Date.UTC(2026, 10, 22, 11) / 1000]);
  assert.equal(write(view), SHARED);
});

test("what is as usual is not in the address, and what belongs to others stays", () => {
  assert.equal(write(read("")), "");
  assert.equal(write(read("?tz=utc"), "?tz=utc&range=6h"), "?tz=utc");
});

test("an address that makes no sense shows what is usual", () => {
  const view = read("?range=2y&from=yesterday&to=11&pct=9&density=lots&tier=,,");

  assert.deepEqual([view.range, view.span, view.pct, view.density, isFiltered(view)], ["15m", null, "5m", "", false]);
});

test("a tier's filter says which tiers show; others filter the list alone", () => {
  assert.equal(shows(read("?tier=batch"), "standard"), false);
  assert.equal(shows(read("?tenant=acme"), "standard"), true);
  assert.equal(inWords(read("?tier=batch,standard&key=XoBh07B0")), "tier = batch or standard, key = XoBh07B0");
});

test("a shared link names its moments", () => {
  assert.deepEqual(pinned(read("?range=1h"), 10_000).span, [6400, 10_000]);
});

test("earlier goes by half a range, and later ends at the clock", () => {
  const earlier = shifted(read("?range=1h"), -1, 10_000);
  assert.deepEqual(earlier.span, [4600, 8200]);

  const back = shifted(earlier, 1, 10_000);

  assert.deepEqual([back.span, back.range], [null, "1h"]);
  assert.deepEqual(spanOf(back, 10_000), [6400, 10_000]);
});

test("keys do what the help says, and g waits for what follows it", () => {
  assert.deepEqual(meaning({ key: " ", atMs: 0 }, null), { act: "freeze" });
  assert.deepEqual(meaning({ key: "3", atMs: 0 }, null), { act: "tier", tier: 2 });
  assert.deepEqual(meaning({ key: "p", atMs: 0 }, null), { act: "pause" });
  assert.deepEqual(meaning({ key: "u", atMs: 0 }, null), { act: "undo" });
  assert.deepEqual(meaning({ key: "w", atMs: 0 }, null), { act: "line" });
  assert.deepEqual(meaning({ key: "g", atMs: 0 }, null), { act: "await" });
  assert.deepEqual(meaning({ key: "p", atMs: 900 }, 100), { act: "go", to: "/policy/" });
  assert.deepEqual(meaning({ key: "p", atMs: 9000 }, 100), { act: "pause" });
  assert.equal(meaning({ key: "x", atMs: 900 }, 100), null);
  assert.equal(meaning({ key: "q", atMs: 0 }, null), null);
});

test("a key typed into a field belongs to the field", () => {
  const inside = (...selectors) => ({ closest: (wanted) => (selectors.some((s) => wanted.split(", ").includes(s)) ? {} : null) });

  assert.equal(isTyped(inside("input"), "d"), true);
  assert.equal(isTyped(inside("button"), "d"), false);
  assert.equal(isTyped(inside("button"), " "), true);
  assert.equal(isTyped(inside(), " "), false);
});

test("a filter asks for its part of one pool, and says how much that is", () => {
  const view = read("?tier=batch&tenant=acme,birch");

  assert.equal(query("chat", view), "pool=chat&tier=batch&tenant=acme%2Cbirch");
  assert.equal(says({ matching: 12, looked_at: 665, rows: Array(12) }, 665, "tenant = acme"), "12 of 665 match tenant = acme");
  assert.equal(
    says({ matching: 700, looked_at: 1000, rows: Array(200) }, 4000, "tier = batch"),
    "700 among the first 1000 match tier = batch, the first 200 are shown",
  );
});

test("a page polls when sockets failed twice, every five seconds", () => {
  const blocked = { state: "waiting", failures: 2 };

  assert.equal(isDue(blocked, -Infinity, 0), true);
  assert.equal(isDue(blocked, 0, 4000), false);
  assert.equal(isDue({ state: "waiting", failures: 1 }, -Infinity, 0), false);
  assert.equal(isDue({ state: "open", failures: 3 }, -Infinity, 0), false);
  assert.equal(isDue({ state: "signed-out", failures: 3 }, -Infinity, 0), false);
});

test("a longer past keeps the most of each step, and a gap stays one", () => {
  const past = {
    step_s: 60, at: [60_000, 120_000, 180_000],
    tiers: { standard: { waiting: [1, null, 3], waiting_max: [90, null, 3], oldest_max: [5, null, null], p95: [1, null, 2], p95_max: [4, null, null] } },
  };

  const { stepS, points } = fromPast(past);

  assert.equal(stepS, 60);
  assert.deepEqual(points[0], { at: 60, last: 120, tiers: { standard: { waiting: 90, oldest_s: 5, p95_s: 4 } } });
  assert.equal(points[1].tiers, null);
  assert.equal(points[2].tiers.standard.p95_s, 2);
});

test("a mark that two sources tell is drawn once", () => {
  const told = marksOf([{ at: 20.2, kind: "policy", text: "policy v2", link: "/policy/2/" }], [{ at: 20.1, kind: "policy", text: "policy v2", by: "ada" }, { at: 5, kind: "override", text: "paused batch" }]);

  assert.deepEqual(told.map(({ text }) => text), ["paused batch", "policy v2"]);
  assert.deepEqual([told[1].by, told[1].link], ["ada", "/policy/2/"]);
});

test("a moment typed in UTC is read in UTC", () => {
  const at = Date.UTC(2026, 10, 22, 10, 0, 5) / 1000;

  assert.equal(fieldOf(at, true), "2026-11-22T10:00:05");
  assert.equal(momentOf("2026-11-22T10:00:05", true), at);
  assert.equal(momentOf(fieldOf(at, false), false), at);
  assert.equal(momentOf("", true), null);
});
