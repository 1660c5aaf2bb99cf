// Forms that must not be sent twice by a double click, and the one page that shows a key.

import { setText } from "./patch.js";

function sendOnce(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => delete form.dataset.sent); // back again, with a button that works
}

function copying(button) {
  button.hidden = !navigator.clipboard; // absent without TLS: the text can still be selected
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("[data-text]").textContent;
    const told = button.querySelector("[data-copy-text]");
    try {
      await navigator.clipboard.writeText(text);
      setText(told, "Copied");
    } catch {
      setText(told, "Select and copy it");
    }
  });
}

/** Leaving before the tick asks first; a reload leads to the tenant, not to the form sent again. */
function guard(page) {
  const stored = page.querySelector("[data-stored]");
  const done = page.querySelector("[data-done]");
  history.replaceState(null, "", page.dataset.leave);
  const show = () => {
    done.disabled = !stored.checked;
  };
  stored.addEventListener("change", show);
  show();
  addEventListener("beforeunload", (event) => {
    if (!stored.checked) event.preventDefault();
  });
}

document.querySelectorAll("[data-once]").forEach(sendOnce);
document.querySelectorAll("[data-copy]").forEach(copying);
document.querySelectorAll("[data-shown-once]").forEach(guard);
document.querySelector("[data-summary]")?.focus();
