import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import * as units from "../../../static/js/units.js";

const cases = JSON.parse(readFileSync(new URL("units.json", import.meta.url), "utf8"));

for (const [name, rows] of Object.entries(cases)) {
  test(`${name} reads as the table says`, () => {
    for (const [value, text] of rows) assert.equal(units[name](value), text);
  });
}

test("a lower bound says so", () => {
  assert.equal(units.quantile({ value_s: 147, at_least: true }), "≥\u00a02m27s");
  assert.equal(units.quantile({ value_s: 0.2, at_least: false }), "0.20 s");
  assert.equal(units.quantile(null), "–");
});

test("an effective priority is a sum that adds up, with a real minus sign", () => {
  const aged = { tier: "standard", priority: 0, aged: 5, boost: 0, effective_priority: 5 };
  const fresh = { tier: "batch", priority: -5, aged: 0, boost: 0, effective_priority: -5 };

  assert.equal(units.sum(aged), "standard 0 + 5 aged = 5");
  assert.equal(units.sum(fresh), "batch −5");
});

test("a time of day follows the zone that was chosen", () => {
  assert.equal(units.timeOfDay(Date.UTC(2026, 10, 22, 10, 24, 3), true), "10:24:03");
});

test("tokens stay short", () => {
  assert.deepEqual([0, 700, 1234, 9990, 41e6].map(units.tokens), ["0", "700", "1.2k", "10k", "41M"]);
});

test("a rate keeps a decimal while it is small", () => {
  assert.deepEqual([0, 3.04, 9.96, 1234].map(units.rate), ["0.0", "3.0", "10", "1\u2009234"]);
});
