import assert from "node:assert/strict";
import test from "node:test";

import { countdown, news, noData, reloadInMs, tile } from "../../../static/js/tiles.js";

const open = { state: "open" };

test("a board without data says so, how long and why", () => {
  assert.equal(noData(open, 400, 60_000), null);
  assert.deepEqual(noData({ state: "waiting" }, 12_000, 60_000), { forMs: 12_000, why: "The connection is lost. Trying again…" });
  assert.match(noData(open, 12_000, 60_000).why, /gateway sends nothing/);
  assert.match(noData({ state: "signed-out" }, 400, 60_000).why, /revoked or has expired/);
});

test("a board that was just opened has a moment, and no more", () => {
  assert.equal(noData(open, null, 2000), null);
  assert.equal(noData(open, null, 9000).forMs, 9000);
});

test("how long nothing came is counted in minutes and seconds", () => {
  assert.deepEqual([12_400, 75_000, 3_723_000].map(countdown), ["00:12", "01:15", "1:02:03"]);
});

test("a board reloads a little after four", () => {
  const hourMs = 3_600_000;

  assert.equal(reloadInMs(new Date(2026, 10, 22, 3, 0), 0), hourMs);
  assert.equal(reloadInMs(new Date(2026, 10, 22, 4, 0), 0), 24 * hourMs);
  assert.equal(reloadInMs(new Date(2026, 10, 22, 3, 0), 1), hourMs + 600_000);
});

test("a tile says state, length, oldest and p95, and is tinted by the oldest", () => {
  const wait = { n: 3, worst_s: 4.1, p50: null, p95: null, p99: null };
  const tier = {
    name: "batch", priority: -5, state: "paused", waiting: 212, waiting_tokens: 1, in_flight: 0, oldest_s: 552, wait, in_per_s: 0.4, out_per_s: 0,
    in_5m: 120, out_5m: 0, tokens_per_s: 0, burn: { m5: null, h1: null }, aged: 0, overdue: 0, rescued_per_min: 0,
    lost_per_min: { rejected: 0, expired: 0, evicted: 0, cancelled: 0 }, target_wait_s: 300, max_wait_s: 3600, max_waiting: 2000,
  };

  const says = tile(tier, { limit: 64, tiers: [tier] }, 2, (_, metric) => (metric === "oldest" ? { warn: 300 } : {}));

  assert.deepEqual([says.cells.state, says.cells.waiting, says.cells.oldest, says.state, says.tint], ["‖ paused", "212", "▲ 9m14s", "paused", "warn"]);
});

test("a board says what was ordered in its pool, until when, and what is open", () => {
  const at = Date.UTC(2026, 10, 22, 11, 32) / 1000;
  const one = (more) => ({ verb: "pause", pool: "chat", tier: "batch", tenant: "", by: "otto", ends_at: at, ...more });
  const overrides = [one(), one({ pool: "code" }), one({ verb: "move", pool: "", tier: "critical", tenant: "acme" })];

  assert.deepEqual(news({ overrides }, { crit: 1, warn: 2 }, "chat", true), [
    "▲ open alerts: 1 crit, 2 warn", "‖ paused batch by otto until 11:32", "moved acme to critical by otto until 11:32",
  ]);
  assert.deepEqual(news({}, { crit: 0, warn: 0 }, "chat", true), []);
});
