// The open alerts, kept up to date; left alone while somebody is about to act on one.

const EVERY_MS = 5000;
const list = document.querySelector("[data-open]");
const busy = () => document.hidden || list.contains(document.activeElement);

async function refresh() {
  if (busy()) return;
  try {
    const answer = await fetch(list.dataset.open, { headers: { "HX-Request": "true" } });
    if (!answer.ok || answer.redirected) return;
    const text = await answer.text();
    if (!busy()) list.innerHTML = text; // the site's own markup, escaped there
  } catch {
    // The site is away; the next round asks again.
  }
}

setInterval(refresh, EVERY_MS);
