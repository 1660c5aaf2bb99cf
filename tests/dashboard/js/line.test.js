import assert from "node:assert/strict";
import test from "node:test";

import { because, expected, lineCells, rowsOf } from "../../../static/js/line.js";

const entry = (more = {}) => ({
  place: 2, id: "r_8fa2", tenant: "acme", tier: "standard", task_type: "summarize", key: "XoBh07B0", model: "", priority: 0, aged: 5, boost: 0,
  effective_priority: 5, waited_s: 151, tokens_in: 1200, tokens_out: 400, overdue: true, held: "", eta_s: [0.2, 0.9], ...more,
});

test("rows come as lists, and the names of their columns once", () => {
  const pool = { head_columns: ["place", "id"], head: [[1, "a"], [null, "b"]] };

  assert.deepEqual(rowsOf(pool), [{ place: 1, id: "a" }, { place: null, id: "b" }]);
});

test("the effective priority is a sum, and says why", () => {
  assert.equal(because(entry()), "standard 0 + 5 aged = 5, rescue lane");
  assert.equal(because(entry({ boost: 2, effective_priority: 7, overdue: false })), "standard 0 + 5 aged + 2 boost = 7");
  assert.equal(because(entry({ aged: 0, boost: -3, effective_priority: -3, overdue: false })), "standard 0 − 3 boost = −3");
  assert.equal(because(entry({ place: null, held: "paused" })), "standard 0 + 5 aged = 5, the tier is paused");
});

test("what is expected is a range, and nothing where nothing may go", () => {
  assert.equal(expected(entry({ place: 1 })), "next");
  assert.equal(expected(entry()), "0–1 s");
  assert.equal(expected(entry({ eta_s: [12.4, 29.1] })), "12–30 s");
  assert.equal(expected(entry({ eta_s: [50, 200] })), "50 s–3m20s");
  assert.equal(expected(entry({ eta_s: null })), "–");
  assert.equal(expected(entry({ place: null, held: "paused" })), "–");
});

test("a row names its task, key and tokens", () => {
  assert.deepEqual(lineCells(entry()).slice(4, 8), ["summarize", "XoBh07B0", "1.2k / 400", "2m31s"]);
});
