import assert from "node:assert/strict";
import test from "node:test";

import { placeAt } from "../../../static/js/sheet.js";

test("a pointer above every middle is at the first place, below every one at the last", () => {
  assert.equal(placeAt(0, [20, 60, 100]), 0);
  assert.equal(placeAt(61, [20, 60, 100]), 2);
  assert.equal(placeAt(500, [20, 60, 100]), 3);
});
