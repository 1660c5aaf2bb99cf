import assert from "node:assert/strict";
import test from "node:test";

import { facts, warnings } from "../../../static/js/pool.js";
import { cells, losses, nextOf, rates, sentences, sparkPath, state, trend } from "../../../static/js/tiers.js";

const tier = (more = {}) => ({
  name: "standard", priority: 0, state: "open", waiting: 453, waiting_tokens: 9000, in_flight: 31, oldest_s: 151,
  wait: { n: 400, worst_s: 151, p50: { value_s: 100, at_least: true }, p95: { value_s: 147, at_least: true }, p99: { value_s: 150, at_least: false } },
  in_per_s: 3.0, out_per_s: 2.2, in_5m: 900, out_5m: 660, tokens_per_s: 728, burn: { m5: 7.2, h1: 3.14 }, aged: 363, overdue: 273, rescued_per_min: 2,
  lost_per_min: { rejected: 0, expired: 1, evicted: 0, cancelled: 1 }, target_wait_s: 60, max_wait_s: 300, max_waiting: 600, ...more,
});
const backend = (more = {}) => ({
  name: "gpu-1", state: "up", in_flight: 31, limit: 32, engine_running: 30, engine_waiting: 1, kv_usage: 0.88, tokens_per_s: 800,
  preemptions: 0, preempted_per_min: 0, lookahead: 4, scheduling_policy: "priority", error: "", ...more,
});
const pool = (more = {}) => ({
  name: "default", limit: 64, in_flight: 61, held_back: 3, urgent_threshold: 8, waiting: 453, backends: [backend()],
  tiers: [tier({ name: "realtime", priority: 10 }), tier({ name: "critical", priority: 8 }), tier()], ...more,
});

test("a row says what waits, how long, and what is lost", () => {
  const says = cells(tier(), pool(), 0, { oldest: "warn" });

  assert.equal(says.waiting, "453");
  assert.equal(says.oldest, "▲ 2m31s");
  assert.equal(says.share, "48 %");
  assert.deepEqual([says.p50, says.p95, says.p99], ["≥\u00a01m40s", "≥\u00a02m27s", "2m30s"]);
  assert.equal(says.rates, "3.0 → 2.2");
  assert.equal(says.lost, "2");
});

test("the oldest grows older between two frames", () => {
  assert.equal(cells(tier({ oldest_s: 58 }), pool(), 3).oldest, "1m01s");
});

test("a percentile of too few says the worst wait, and how few", () => {
  const few = tier({ wait: { n: 12, worst_s: 4.14, p50: { value_s: 1, at_least: false }, p95: null, p99: null } });

  const { p50, p95, p99 } = cells(few, pool());

  assert.deepEqual([p50, p95, p99], ["1.0 s", "worst 4.1 s\nn=12", "–"]);
});

test("a state is a word and a mark", () => {
  assert.deepEqual(state(tier()), { word: "open", mark: "●" });
  assert.deepEqual(state(tier({ state: "paused" })), { word: "paused", mark: "‖" });
  assert.equal(state(tier({ waiting: 0, in_flight: 0, in_per_s: 0 })).word, "no traffic");
  assert.equal(state(tier({ lost_per_min: { rejected: 3, expired: 0, evicted: 0, cancelled: 0 } })).word, "shedding");
});

test("growing, shrinking and level are told apart", () => {
  assert.equal(trend(tier()), "▲");
  assert.equal(trend(tier({ in_per_s: 1, out_per_s: 3 })), "▼");
  assert.equal(trend(tier({ in_per_s: 3, out_per_s: 3 })), "=");
  assert.equal(trend(tier({ in_per_s: 0, out_per_s: 0 })), "");
});

test("a growing tier says when it is full", () => {
  const [grows, loses] = sentences(tier());

  assert.equal(grows, "standard grows by 0.8/s: full (600) in about 3 min");
  assert.equal(loses, "standard lost within a minute: 1 expired, 1 hung up");
});

test("a tier that empties says when, and a level one says nothing", () => {
  const calm = { lost_per_min: { rejected: 0, expired: 0, evicted: 0, cancelled: 0 } };

  assert.deepEqual(sentences(tier({ ...calm, in_per_s: 2.2 })), []);
  assert.deepEqual(sentences(tier({ ...calm, in_per_s: 1.2 })), ["standard shrinks by 1.0/s: empty in about 8 min"]);
});

test("fewer than five events make no rate", () => {
  assert.equal(rates(tier()), "3.0 → 2.2");
  assert.equal(rates(tier({ in_5m: 3, out_5m: 1 })), "3 → 1 in 5 min");
  assert.equal(rates(tier({ in_5m: 0, out_5m: 0 })), "0 → 0");
});

test("what a tier burns, produces and would send next", () => {
  const says = cells(tier(), pool());
  const head = [{ tier: "batch", place: 1 }, { tier: "standard", place: null }, { tier: "standard", place: 3, id: "r_8fa2", tenant: "acme", effective_priority: 5 }];

  assert.deepEqual([says.burn, says.burn_1h, says.tokens_per_s], ["7.2×", "3.1×", "728"]);
  assert.equal(cells(tier({ burn: { m5: 51.4, h1: null } }), pool()).burn, "51×");
  assert.equal(nextOf(tier(), head), "r_8fa2 of acme would go next, at 5, place 3");
  assert.equal(nextOf(tier({ name: "realtime" }), head), null);
  assert.equal(losses(tier({ lost_per_min: { rejected: 0, expired: 0, evicted: 0, cancelled: 0 } })), "");
});

test("a sparkline breaks where nothing is known", () => {
  assert.equal(sparkPath([0, null, 10], 10), "M0.0,23.0M120.0,1.0");
  assert.equal(sparkPath([], 10), "");
});

test("slots name for whom some are held", () => {
  const says = facts(pool(), { version: 17, by: "ada", at: 1000 }, 1540);

  assert.equal(says.slots_note, "3 held for critical (8) and up");
  assert.deepEqual([says.policy, says.policy_note], ["v17", "by ada, 9 min ago"]);
  assert.deepEqual([says.honoured, says.engine_note], ["1 of 1 ✓", "of 4 allowed, 30 run"]);
});

test("what is not known is not shown as nought", () => {
  const dark = backend({ kv_usage: null, tokens_per_s: null, engine_waiting: null, engine_running: null, preemptions: null, preempted_per_min: null });

  const says = facts(pool({ backends: [dark] }), { version: 1 });

  assert.deepEqual([says.kv, says.tokens_per_s, says.engine_waiting], ["–", "–", "–"]);
});

test("a backend that ignores priority is named, with what to do", () => {
  assert.deepEqual(warnings(pool()), []);
  assert.deepEqual(warnings(pool({ backends: [backend({ scheduling_policy: "fcfs" })] })), [
    "gpu-1 ignores priority: start it with --scheduling-policy priority.",
  ]);
});

test("a queue inside vLLM is called out", () => {
  assert.match(warnings(pool({ backends: [backend({ engine_waiting: 9 })] }))[0], /^vLLM is queueing: 9 wait there, 4 allowed/);
});

test("what makes the order here untrue is said: other clients, no metrics, too much urgent work", () => {
  const said = warnings(pool({ urgent_is_short: true, backends: [backend({ strangers: 12, blind: true })] }));

  assert.match(said[0], /^Another client uses gpu-1: 12 requests there are not ours/);
  assert.match(said[1], /^gpu-1 has shown no metrics for 30 s/);
  assert.match(said[2], /^Urgent traffic exceeds/);
});

test("a pool without a backend says that nothing can run", () => {
  assert.match(warnings(pool({ backends: [] }))[0], /no backend/);
  assert.match(warnings(pool({ backends: [backend({ state: "down" })] }))[0], /No backend is up/);
});
