// The head of the line: the first requests in the order of dispatch, and why each stands there.

import { patchTable, setText } from "./patch.js";
import { count, priority, seconds, sum, tokens } from "./units.js";

export function lineCells(entry) {
  return [
    count(entry.place),
    entry.id,
    entry.tenant,
    `${entry.tier} ${priority(entry.priority)}`,
    tokens(entry.tokens),
    seconds(entry.waited_s),
    sum(entry) + (entry.overdue ? ", rescue lane" : ""),
  ];
}

export function patchLine(root, pool, ranks) {
  const { head, waiting } = pool;
  const body = root.querySelector("[data-line]");
  patchTable(body, head.map(lineCells), [0, 4, 5]);
  head.forEach((entry, i) => {
    body.children[i].dataset.rank = ranks.get(entry.tier) ?? "";
    body.children[i].dataset.overdue = entry.overdue ? "yes" : "";
  });
  root.querySelector("[data-nobody]").hidden = head.length > 0;
  root.querySelector(".line").hidden = head.length === 0;
  setText(
    root.querySelector("[data-line-says]"),
    head.length < waiting ? `the first ${head.length} of ${count(waiting)}, in the order of dispatch` : "in the order of dispatch",
  );
}
