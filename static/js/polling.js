// Where sockets are blocked on the way, the page asks for the newest frame every five seconds.

export const EVERY_MS = 5000;
const AFTER_FAILURES = 2;

/** Whether to ask now. @param {{state: string, failures?: number}} link the last word of socket.js */
export function isDue(link, lastAskedMs, nowMs) {
  const blocked = (link.state === "waiting" || link.state === "connecting") && (link.failures ?? 0) >= AFTER_FAILURES;
  return blocked && nowMs - lastAskedMs >= EVERY_MS;
}

/** @returns {(link: object) => void} to be called often; `onFrame` gets what came */
export function poller(address, onFrame) {
  let lastAskedMs = -Infinity;
  return async (link) => {
    if (document.hidden || !isDue(link, lastAskedMs, performance.now())) return;
    lastAskedMs = performance.now();
    const answer = await fetch(address).catch(() => null);
    if (answer?.ok) onFrame(await answer.json());
  };
}
