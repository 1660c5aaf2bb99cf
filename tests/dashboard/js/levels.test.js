import assert from "node:assert/strict";
import test from "node:test";

import { levelsOf, tint, tints } from "../../../static/js/levels.js";

const line = (metric, severity, value, more = {}) => ({ metric, severity, value, tier: "standard", pool: "", rule: 1, ...more });
const lines = [
  line("wait_p95", "warn", 60), line("wait_p95", "crit", 120), line("queue", "warn", 420),
  line("wait_p95", "warn", 30, { pool: "other" }), line("oldest", "warn", 2, { tier: "realtime" }),
];

test("a tier's levels are those of the rules about it, in its pool, the strictest first", () => {
  assert.deepEqual(levelsOf(lines, "default", "standard", "wait_p95"), { warn: 60, crit: 120 });
  assert.deepEqual(levelsOf(lines, "other", "standard", "wait_p95"), { warn: 30, crit: 120 });
  assert.deepEqual(levelsOf(lines, "default", "batch", "wait_p95"), {});
});

test("a value is tinted from its level on; nothing is tinted without a rule", () => {
  const levels = { warn: 60, crit: 120 };

  assert.deepEqual([null, 59, 60, 119, 120].map((value) => tint(value, levels)), ["", "", "warn", "warn", "crit"]);
  assert.equal(tint(1e9, {}), "");
  assert.deepEqual([0, 1].map((value) => tint(value, { warn: 0 })), ["", "warn"]); // any at all
});

test("the oldest goes by its own rule, else by the one about p95", () => {
  const of = (tier, metric) => levelsOf(lines, "default", tier, metric);
  const tier = (name) => ({ name, waiting: 500, wait: { p50: null, p95: { value_s: 130 }, p99: null } });

  assert.deepEqual(tints(tier("standard"), 61, of), { oldest: "warn", waiting: "warn", p50: "", p95: "crit", p99: "" });
  assert.equal(tints(tier("realtime"), 3, of).oldest, "warn");
});
