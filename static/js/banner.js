// The badge and the banner: what the connection is like, in words.

import { linkState, isStale } from "./link.js";
import { setText } from "./patch.js";
import { seconds, timeOfDay } from "./units.js";

export const BADGES = {
  connecting: "connecting…",
  live: "live",
  stale: "no data",
  reconnecting: "reconnecting",
  polling: "every 5 s",
  "signed-out": "signed out",
  forbidden: "not allowed",
  crowded: "too many tabs",
};
// The gateway's ticker needs a second or two when everything starts at once.
const PATIENCE_MS = 5_000;

/** @param {{socket: object, ageMs: number|null, polled?: boolean, frozen?: string, lastAtS: number|null, nowMs: number, utc: boolean}} moment */
export function bannerText(link, { socket, ageMs, lastAtS, nowMs, utc }) {
  const silent = ageMs == null ? "No data yet" : `No data for ${age(ageMs)}, last ${timeOfDay(lastAtS * 1000, utc)}`;
  if (link === "signed-out") return `You are signed out. ${silent}. This page goes on by itself once you are back.`;
  if (link === "polling") return "Live sockets are blocked between here and the server: this page asks every 5 s instead.";
  if (link === "crowded") return `You have ten live pages open already: close one. ${silent}.`;
  if (link === "forbidden") return `Your account may not watch this page. ${silent}.`;
  if (link === "stale" || link === "connecting") return `${silent}. The connection is open, but the gateway sends nothing.`;
  const inS = Math.ceil(((socket.retryAtMs ?? 0) - nowMs) / 1000);
  return `${silent}. ${socket.state === "waiting" && inS > 0 ? `Trying again in ${inS} s.` : "Trying again…"}`;
}

function age(ms) {
  const whole = Math.max(1, Math.floor(ms / 1000));
  return whole < 60 ? `${whole} s` : seconds(whole);
}

/** "frozen 00:12, 12 behind". */
export function frozenText(sinceMs, nowMs, behind) {
  const s = Math.floor((nowMs - sinceMs) / 1000);
  const two = (n) => String(n).padStart(2, "0");
  return `frozen ${two(Math.floor(s / 60))}:${two(s % 60)}, ${behind} behind`;
}

/** Is there anything to say at full width? */
export function needsBanner(link, { socket, nowMs }) {
  if (link === "connecting") return socket.state === "open" && nowMs - socket.atMs > PATIENCE_MS;
  return link !== "live";
}

let announced = "connecting";

/** Shows `moment` in the strip, under it, and once a change to screen readers. */
export function showLink(root, moment) {
  const find = (selector) => document.querySelector(selector);
  const link = linkState(moment.socket, moment.ageMs, moment.polled);
  root.dataset.link = link;
  document.body.classList.toggle("is-stale", isStale(moment.ageMs, moment.polled));
  document.body.classList.toggle("is-frozen", Boolean(moment.frozen));
  find("[data-link-badge]").dataset.linkBadge = link;
  const says = link === "live" ? `live, ${(moment.ageMs / 1000).toFixed(1)} s ago` : BADGES[link];
  setText(find("[data-link-text]"), moment.frozen && link === "live" ? moment.frozen : says);
  find("[data-banner]").dataset.kind = link === "polling" ? "note" : "";
  find("[data-banner]").hidden = !needsBanner(link, moment);
  setText(find("[data-banner-text]"), bannerText(link, moment));
  find("[data-retry]").hidden = !(link === "reconnecting" && moment.socket.state === "waiting");
  find("[data-sign-in]").hidden = link !== "signed-out";
  if (link === announced) return;
  announced = link;
  setText(find("[data-announce]"), link === "live" ? "Live." : `Connection: ${BADGES[link]}.`);
}
