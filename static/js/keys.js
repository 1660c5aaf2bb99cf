// Single keys: what each does (pure), and the page's help.  Every one of them has a button as well.

const PAGES = { l: "/live/", a: "/alerts/", t: "/tenants/", p: "/policy/", u: "/audit/" };
const ALONE = { "?": "help", "/": "filter", " ": "freeze", "[": "earlier", "]": "later", d: "density", k: "board", p: "pause", u: "undo", w: "line" };
const WAITS_MS = 1500; // between g and what follows it

/**
 * @param {{key: string, atMs: number}} pressed
 * @param {number|null} goSinceMs when g was pressed, if it was the last key
 * @returns {{act: string, to?: string, tier?: number}|null} null for a key that means nothing here
 */
export function meaning({ key, atMs }, goSinceMs) {
  if (goSinceMs !== null && atMs - goSinceMs < WAITS_MS) return key in PAGES ? { act: "go", to: PAGES[key] } : null;
  if (key === "g") return { act: "await" };
  if (/^[1-9]$/.test(key)) return { act: "tier", tier: Number(key) - 1 };
  return key in ALONE ? { act: ALONE[key] } : null;
}

/** Keys pressed in a field belong to the field; on a button the space bar presses it. */
export function isTyped(target, key) {
  if (target.closest("input, textarea, select, [contenteditable]")) return true;
  return key === " " && target.closest("button, summary, [role=button]") !== null;
}

const kept = () => {
  try {
    return localStorage.getItem("laneway.keys") !== "off";
  } catch {
    return true;
  }
};

/** @param {(meant: object) => void} act */
export function listenToKeys(dialog, act) {
  let on = kept();
  let goSinceMs = null;
  const box = dialog.querySelector("[data-keys-on]");
  box.checked = on;
  box.addEventListener("change", () => {
    on = box.checked;
    try {
      localStorage.setItem("laneway.keys", on ? "on" : "off");
    } catch {
      return; // storage may be forbidden: the choice then lasts as long as the page
    }
  });
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (!on || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (isTyped(target, key) || document.querySelector("dialog[open]")) return;
    const meant = meaning({ key, atMs: event.timeStamp }, goSinceMs);
    goSinceMs = meant?.act === "await" ? event.timeStamp : null;
    if (!meant || meant.act === "await") return;
    event.preventDefault();
    if (meant.act === "help") dialog.showModal();
    else act(meant);
  });
}
