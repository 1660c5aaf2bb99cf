// Light, dark, or what the system says.  A plain script in the head: it runs before the first paint.
(() => {
  const ORDER = ["auto", "light", "dark"];
  const system = matchMedia("(prefers-color-scheme: dark)");
  const asked = new URLSearchParams(location.search).get("theme");
  let choice = ORDER.includes(asked) ? asked : (stored() ?? "auto");

  function stored() {
    try {
      const kept = localStorage.getItem("laneway.theme");
      return ORDER.includes(kept) ? kept : null;
    } catch {
      return null; // storage may be forbidden: the choice then lasts as long as the page
    }
  }

  function keep() {
    try {
      localStorage.setItem("laneway.theme", choice);
    } catch {
      return;
    }
  }

  function apply() {
    const theme = choice === "auto" ? (system.matches ? "dark" : "light") : choice;
    const root = document.documentElement;
    if (root.dataset.bsTheme !== theme) {
      root.dataset.bsTheme = theme;
      document.dispatchEvent(new CustomEvent("laneway:theme", { detail: theme }));
    }
  }

  function show(button) {
    const next = ORDER[(ORDER.indexOf(choice) + 1) % ORDER.length];
    for (const icon of button.querySelectorAll("[data-theme-icon]")) {
      icon.hidden = icon.dataset.themeIcon !== choice;
    }
    const says = { auto: "as the system", light: "light", dark: "dark" };
    button.setAttribute("aria-label", `Theme: ${says[choice]}. Change to ${says[next]}.`);
    button.title = `Theme: ${says[choice]}`;
    button.hidden = false;
  }

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-switch]");
    if (!button) return;
    show(button);
    button.addEventListener("click", () => {
      choice = ORDER[(ORDER.indexOf(choice) + 1) % ORDER.length];
      keep();
      apply();
      show(button);
    });
  });
})();
