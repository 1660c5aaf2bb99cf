// The badge and the banner: what the connection is like, in words.

import { linkState, isStale } from "./link.js";
import { setText } from "./patch.js";
import { seconds, timeOfDay } from "./units.js";

export const BADGES = {
  connecting: "connecting…",
  live: "live",
  stale: "no data",
  reconnecting: "reconnecting",
  "signed-out": "signed out",
  forbidden: "not allowed",
};
// The gateway's ticker needs a second or two when everything starts at once.
const PATIENCE_MS = 5_000;

/** @param {{socket: object, ageMs: number|null, lastAtS: number|null, nowMs: number, utc: boolean}} moment */
export function bannerText(link, { socket, ageMs, lastAtS, nowMs, utc }) {
  const silent = ageMs == null ? "No data yet" : `No data for ${age(ageMs)}, last ${timeOfDay(lastAtS * 1000, utc)}`;
  if (link === "signed-out") return `You are signed out. ${silent}. This page goes on by itself once you are back.`;
  if (link === "forbidden") return `Your account may not watch this page. ${silent}.`;
  if (link === "stale" || link === "connecting") return `${silent}. The connection is open, but the gateway sends nothing.`;
  const inS = Math.ceil(((socket.retryAtMs ?? 0) - nowMs) / 1000);
  return `${silent}. ${socket.state === "waiting" && inS > 0 ? `Trying again in ${inS} s.` : "Trying again…"}`;
}

function age(ms) {
  const whole = Math.max(1, Math.floor(ms / 1000));
  return whole < 60 ? `${whole} s` : seconds(whole);
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
  const link = linkState(moment.socket, moment.ageMs);
  root.dataset.link = link;
  document.body.classList.toggle("is-stale", isStale(moment.ageMs));
  find("[data-link-badge]").dataset.linkBadge = link;
  setText(find("[data-link-text]"), link === "live" ? `live, ${(moment.ageMs / 1000).toFixed(1)} s ago` : BADGES[link]);
  find("[data-banner]").hidden = !needsBanner(link, moment);
  setText(find("[data-banner-text]"), bannerText(link, moment));
  find("[data-retry]").hidden = !(link === "reconnecting" && moment.socket.state === "waiting");
  find("[data-sign-in]").hidden = link !== "signed-out";
  if (link === announced) return;
  announced = link;
  setText(find("[data-announce]"), link === "live" ? "Live." : `Connection: ${BADGES[link]}.`);
}
