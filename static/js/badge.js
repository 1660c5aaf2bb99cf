// How many alerts are open, on every page: asked anew while somebody looks.

const EVERY_MS = 10_000;
const badge = document.querySelector("[data-alerts-badge]");

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(badge.dataset.alertsBadge, { headers: { "HX-Request": "true" } });
    if (!answer.ok || answer.redirected) return;
    const text = await answer.text();
    if (badge.innerHTML !== text) badge.innerHTML = text; // the site's own markup, escaped there
  } catch {
    // The site is away: the page says so elsewhere, and the next round asks again.
  }
}

if (badge) setInterval(refresh, EVERY_MS);
