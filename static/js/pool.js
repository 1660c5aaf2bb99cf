// The pool's line: backends, slots, vLLM's own queue; and the sentences that must not be missed.

import { patchList, patchTable, setText } from "./patch.js";
import { ABSENT, about, count, percent, priority, rate } from "./units.js";

// Below this many nobody calls what waits inside vLLM a queue, whatever the lookahead.
const LEAST_ALLOWED = 3;
const MARKS = { up: "●", down: "▲", draining: "▼", unknown: "○" };

/** The sum of what is known; null when nothing is. */
function total(list, key) {
  const known = list.map((one) => one[key]).filter((value) => value != null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) : null;
}

/** What may wait inside vLLM so that it never idles between two dispatches; more is a queue of its own. */
const allowedThere = (up) => Math.max(LEAST_ALLOWED, total(up, "lookahead") ?? 0);

/**
 * What the line says, as text by field.
 * @param {{version: number, by?: string, at?: number|null}} policy the version in force, who published it and when
 */
export function facts(pool, policy, nowS = null) {
  const { backends, tiers } = pool;
  const up = backends.filter((b) => b.state === "up").length;
  const down = backends.filter((b) => b.state === "down").map((b) => b.name);
  const urgent = tiers.filter((t) => t.priority >= pool.urgent_threshold).at(-1);
  const serving = backends.filter((b) => b.state === "up");
  const honest = serving.filter((b) => b.scheduling_policy === "priority").length;
  const age = nowS != null && policy.at ? `${about(nowS - policy.at)} ago` : "";
  const usages = backends.map((b) => b.kv_usage).filter((v) => v != null);
  return {
    backends: `${up} of ${backends.length}`,
    backends_note: down.length ? `▲ ${down.join(", ")} down` : "up",
    in_flight: `${count(pool.in_flight)} of ${count(pool.limit)}`,
    slots_note: pool.held_back && urgent ? `${pool.held_back} held for ${urgent.name} (${priority(urgent.priority)}) and up` : "",
    waiting: count(pool.waiting),
    flow_note: `${rate(total(tiers, "in_per_s"))} in, ${rate(total(tiers, "out_per_s"))} out /s`,
    engine_waiting: count(total(backends, "engine_waiting")),
    engine_note: `of ${count(allowedThere(serving))} allowed, ${count(total(backends, "engine_running"))} run`,
    kv: usages.length ? percent(Math.max(...usages)) : ABSENT,
    tokens_per_s: count(total(backends, "tokens_per_s")),
    preemptions: total(serving, "preempted_per_min") == null ? "" : `${count(total(serving, "preempted_per_min"))} preempted/min`,
    honoured: serving.length ? `${honest} of ${serving.length}${honest === serving.length ? " ✓" : ""}` : ABSENT,
    policy: `v${policy.version}`,
    policy_note: [policy.by ? `by ${policy.by}` : "", age].filter(Boolean).join(", "),
  };
}

/** Sentences in red: what makes the rest of the page untrue, or useless. */
export function warnings(pool) {
  const found = [];
  const up = pool.backends.filter((b) => b.state === "up");
  if (pool.backends.length === 0) found.push("This pool has no backend: nothing can be dispatched.");
  else if (up.length === 0) found.push("No backend is up: nothing is dispatched.");
  const queued = total(up, "engine_waiting");
  const allowed = allowedThere(up);
  if (queued > allowed) {
    found.push(`vLLM is queueing: ${count(queued)} wait there, ${count(allowed)} allowed; the order on this page does not hold there.`);
  }
  for (const b of up.filter((one) => one.scheduling_policy === "fcfs")) {
    found.push(`${b.name} ignores priority: start it with --scheduling-policy priority.`);
  }
  for (const b of up.filter((one) => one.strangers)) {
    found.push(`Another client uses ${b.name}: ${count(b.strangers)} requests there are not ours, and take slots that nobody here orders.`);
  }
  for (const b of up.filter((one) => one.blind)) {
    found.push(`${b.name} has shown no metrics for 30 s: it is served on, but its limit no longer follows it.`);
  }
  if (pool.urgent_is_short) {
    found.push("Urgent traffic exceeds what can be held back for it: urgent requests wait for slots like others.");
  }
  for (const b of pool.backends.filter((one) => one.state === "down" && one.error)) {
    found.push(`${b.name} is down: ${b.error}`);
  }
  return found;
}

const ORDERS = { priority: "priority ✓", fcfs: "first come, first served", unknown: "not known" };

export function backendCells(b) {
  return [
    b.name,
    `${MARKS[b.state] ?? ""} ${b.state}`,
    `${count(b.in_flight)} of ${count(b.limit)}`,
    count(b.engine_running),
    count(b.engine_waiting),
    percent(b.kv_usage),
    count(b.tokens_per_s),
    count(b.preemptions),
    ORDERS[b.scheduling_policy] ?? b.scheduling_policy,
  ];
}

export function patchPool(root, pool, policy, nowS) {
  for (const [name, text] of Object.entries(facts(pool, policy, nowS))) {
    setText(root.querySelector(`[data-pool="${name}"]`), text);
  }
  patchList(root.querySelector("[data-warnings]"), warnings(pool));
  patchTable(root.querySelector("[data-backends]"), pool.backends.map(backendCells), [2, 3, 4, 5, 6, 7]);
}

/** The choice of a pool; hidden while there is one. */
export function patchPools(pick, pools, shown) {
  pick.hidden = pools.length < 2;
  const names = pools.map((pool) => pool.name).join("\n");
  if (pick.hidden || pick.dataset.names === names) return;
  pick.dataset.names = names;
  pick.querySelectorAll("label").forEach((label) => label.remove());
  for (const { name } of pools) {
    const label = pick.appendChild(document.createElement("label"));
    const input = label.appendChild(document.createElement("input"));
    Object.assign(input, { type: "radio", name: "pool", value: name, checked: name === shown.name });
    label.append(name);
  }
}
