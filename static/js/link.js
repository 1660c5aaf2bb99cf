// What the connection is like right now: pure, from ages and the socket's state to one word.

// Two frames missed, and the third late: the page is grey within 3 s of the last frame.
export const STALE_AFTER_MS = 2600;
// The same for a page that asks every five seconds because sockets are blocked.
export const POLL_STALE_AFTER_MS = 12_000;
// A socket that stays open and silent this long is taken for dead (a laptop that slept, a lost proxy).
export const DEAD_AFTER_MS = 15_000;

/**
 * @param {{state: string}} socket the last word of socket.js
 * @param {number|null} ageMs since the last frame came; null when none ever did
 * @param {boolean} polled whether that frame was asked for, for want of a socket
 */
export function linkState(socket, ageMs, polled = false) {
  if (["signed-out", "forbidden", "crowded"].includes(socket.state)) return socket.state;
  if (polled && socket.state !== "open" && !isStale(ageMs, true)) return "polling";
  if (ageMs == null) return socket.state === "waiting" ? "reconnecting" : "connecting";
  if (socket.state !== "open") return "reconnecting";
  return ageMs > STALE_AFTER_MS ? "stale" : "live";
}

export const isStale = (ageMs, polled = false) => ageMs != null && ageMs > (polled ? POLL_STALE_AFTER_MS : STALE_AFTER_MS);

/** @returns {number|null} seconds this computer's clock is ahead (+) or behind (−), when 3 or more */
export function clockSkewS(frameAtS, nowMs) {
  const ahead = Math.round(nowMs / 1000 - frameAtS);
  return Math.abs(ahead) >= 3 ? ahead : null;
}
