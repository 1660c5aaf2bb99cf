// The clock in the strip, and whether times show as here or as UTC.  `?tz=utc` makes it shareable.

import { timeOfDay } from "./units.js";

const UTC = "utc";
let utc = new URLSearchParams(globalThis.location?.search ?? "").get("tz") === UTC;

export const isUtc = () => utc;

/** The zone's short name, such as CET; UTC+1 where the browser has none. */
export function zoneName(moment, inUtc) {
  if (inUtc) return "UTC";
  const parts = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts(moment);
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "local";
}

function show(clock, button) {
  const now = new Date();
  clock.textContent = timeOfDay(now.getTime(), utc);
  clock.dateTime = now.toISOString();
  clock.title = `${timeOfDay(now.getTime(), !utc)} ${zoneName(now, !utc)}`;
  button.textContent = zoneName(now, utc);
  button.setAttribute("aria-label", `Times are ${utc ? "UTC" : "local"}. Change to ${utc ? "local" : "UTC"}.`);
}

function start() {
  const clock = document.querySelector("[data-clock]");
  const button = document.querySelector("[data-zone-switch]");
  if (!clock || !button) return;
  const tick = () => {
    show(clock, button);
    setTimeout(tick, 1000 - (Date.now() % 1000));
  };
  button.addEventListener("click", () => {
    utc = !utc;
    const address = new URL(location.href);
    if (utc) address.searchParams.set("tz", UTC);
    else address.searchParams.delete("tz");
    history.replaceState(null, "", address);
    show(clock, button);
    document.dispatchEvent(new CustomEvent("laneway:zone", { detail: utc }));
  });
  tick();
}

if (globalThis.document) start();
