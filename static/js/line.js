// The head of the line: the first requests in the order of dispatch, and why each stands there.

import { patchTable, setText } from "./patch.js";
import { ABSENT, count, priority, range, seconds, sum, tokens } from "./units.js";

const LABELS = ["Place", "", "Tenant", "Tier", "Task", "Key", "Tokens in / out", "Waited", "Effective priority, and why", "Expected"];
const HELD = { paused: "the tier is paused", tenant_cap: "parked: its tenant has all it may in flight" };

/** The rows of a frame come as lists; the names of their columns come once. */
export function rowsOf({ head, head_columns: names }) {
  return head.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i]])));
}

/** Why a request stands where it stands, in one line. */
export function because(entry) {
  return [sum(entry), entry.overdue && !entry.held ? "rescue lane" : "", HELD[entry.held] ?? entry.held].filter(Boolean).join(", ");
}

/** When it is expected to go: a range, never one promise. */
export function expected({ place, eta_s: eta }) {
  if (place == null) return ABSENT;
  if (place === 1) return "next";
  return eta ? range(...eta) : ABSENT;
}

export function lineCells(entry) {
  return [
    count(entry.place),
    entry.id,
    entry.tenant,
    `${entry.tier} ${priority(entry.priority)}`,
    entry.task_type || ABSENT,
    entry.key || ABSENT,
    `${tokens(entry.tokens_in)} / ${tokens(entry.tokens_out)}`,
    seconds(entry.waited_s),
    because(entry),
    expected(entry),
  ];
}

/** @param {{head: object[], says: string, filtered?: boolean, found?: boolean}} list the rows to show, and what the list is, in words */
export function patchLine(root, { head, says, filtered = false, found = true }, colours) {
  const body = root.querySelector("[data-line]");
  patchTable(body, head.map(lineCells), [0, 6, 7, 9], LABELS);
  head.forEach((entry, i) => {
    body.children[i].dataset.id = entry.id; // begin.js acts on it
    link(body.children[i].children[1], `${root.dataset.why}${encodeURIComponent(entry.id)}/`);
    body.children[i].dataset.colour = colours[entry.tier] ?? "";
    body.children[i].dataset.overdue = entry.overdue ? "yes" : "";
  });
  root.querySelector("[data-nobody]").hidden = head.length > 0 || filtered;
  root.querySelector("[data-nobody-matches]").hidden = head.length > 0 || !filtered || !found;
  root.querySelector(".line").hidden = head.length === 0;
  setText(root.querySelector("[data-line-says]"), says);
}

/** What the unfiltered list is, in words. */
export function usualSays(head, waiting) {
  return head.length < waiting ? `the first ${head.length} of ${count(waiting)}, in the order of dispatch` : "in the order of dispatch";
}

/** An id leads to its explanation. */
function link(cell, address) {
  let anchor = cell.firstElementChild;
  if (!anchor) {
    anchor = document.createElement("a");
    anchor.dataset.why = "";
    anchor.textContent = cell.textContent;
    cell.replaceChildren(anchor);
  }
  if (anchor.getAttribute("href") !== address) anchor.setAttribute("href", address);
}
