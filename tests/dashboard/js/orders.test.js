import assert from "node:assert/strict";
import test from "node:test";

import { about, hindrances, left, sameStrips } from "../../../static/js/orders.js";

test("what is left counts down to nothing and not below", () => {
  assert.equal(left(461), "07:41");
  assert.equal(left(0.2), "00:01");
  assert.equal(left(-5), "00:00");
  assert.equal(left(3723), "1:02:03");
});

test("an address says ids, else the tier, else the filter", () => {
  const seen = { pool: "default", filter: { tier: ["batch", "standard"], tenant: [], key: ["k1"] } };
  assert.equal(about("/x/", { ...seen, ids: ["a", "b"], tier: "batch" }), "/x/?pool=default&ids=a%2Cb");
  assert.equal(about("/x/", { ...seen, tier: "batch" }), "/x/?pool=default&tier=batch");
  assert.equal(about("/x/", seen), "/x/?pool=default&tier=batch%2Cstandard&key=k1");
});

test("strips are renewed when one came, went or was extended", () => {
  const shown = [{ id: 1, ends: 100 }];
  assert.equal(sameStrips(shown, [{ id: 1, ends_at: 100.2 }]), true);
  assert.equal(sameStrips(shown, [{ id: 1, ends_at: 1000 }]), false);
  assert.equal(sameStrips(shown, []), false);
  assert.equal(sameStrips([], [{ id: 1, ends_at: 1 }]), false);
});

test("what cannot be done now has a reason", () => {
  assert.deepEqual(hindrances({ state: "paused", waiting: 0 }), {
    pause: "paused already",
    drain: "",
    boost: "nobody waits",
    evict: "nobody waits",
  });
  assert.equal(hindrances({ state: "open", waiting: 3 }).evict, "");
});
