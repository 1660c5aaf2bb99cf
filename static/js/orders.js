// What people order, as plain values: addresses, clocks, and what can be done now.

/** What is left, as a clock: 07:41, or 1:02:03. */
export function left(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:` : ""}${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** The address of an action: about these ids, else a tier, else what the page's filter leaves. */
export function about(path, { pool = "", tier = "", ids = [], filter = {} }) {
  const asked = new URLSearchParams();
  if (pool) asked.set("pool", pool);
  if (ids.length) asked.set("ids", ids.join(","));
  else if (tier) asked.set("tier", tier);
  else for (const [name, values] of Object.entries(filter)) if (values.length) asked.set(name, values.join(","));
  return `${path}?${asked}`;
}

/** Whether the strips shown are those of the frame. */
export function sameStrips(shown, overrides) {
  return shown.length === overrides.length && overrides.every(({ id, ends_at: ends }, i) => shown[i].id === id && Math.abs(shown[i].ends - ends) < 0.5);
}

/** Why an action on a tier cannot be taken now; "" where it can. */
export function hindrances({ state, waiting }) {
  const nobody = waiting === 0 ? "nobody waits" : "";
  return {
    pause: state === "paused" ? "paused already" : "",
    drain: state === "draining" ? "draining already" : "",
    boost: nobody,
    evict: nobody,
  };
}
