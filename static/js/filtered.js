// The waiting list under a filter: asked of the server every two seconds while somebody sees it.

import { FILTERS } from "./view.js";

const EVERY_MS = 2000;

export function query(pool, { filter }) {
  const wanted = new URLSearchParams({ pool });
  for (const name of FILTERS) if (filter[name].length) wanted.set(name, filter[name].join(","));
  return wanted.toString();
}

/** "12 of 665 wait: tenant = acme" */
export function says({ matching, looked_at: lookedAt, rows }, waiting, words) {
  const among = lookedAt < waiting ? `among the first ${lookedAt}` : `of ${waiting}`;
  const cut = rows.length < matching ? `, the first ${rows.length} are shown` : "";
  return `${matching} ${among} match ${words}${cut}`;
}

/** @returns {{of: (pool: string, view: object, still: boolean) => object|null}} the newest answer for a view, asked for as needed */
export function filteredLine(address, redraw) {
  let held = null; // {key, part, atMs}
  let asking = false;

  async function ask(key) {
    asking = true;
    const answer = await fetch(`${address}?${key}`).catch(() => null);
    asking = false;
    const usable = answer?.status === 200 && !answer.redirected;
    const part = usable ? await answer.json() : held?.key === key ? held.part : null;
    // The first question is answered at the gateway's next tick: ask again sooner.
    held = { key, part, atMs: performance.now() - (usable ? 0 : EVERY_MS / 2) };
    if (usable) redraw();
  }

  return {
    /** `still`: what was found once is enough, for the page is frozen. */
    of(pool, view, still) {
      const key = query(pool, view);
      const old = held?.key === key && ((still && held.part) || performance.now() - held.atMs < EVERY_MS);
      if (!old && !asking && !document.hidden) ask(key);
      return held?.key === key ? held.part : null;
    },
  };
}
