// One request explained, in a dialog that renews itself while it is open.

const EVERY_MS = 1000;

/** Links marked `data-why` open the dialog; without this script they lead to a page that says the same. */
export function explainIn(dialog, root) {
  const body = dialog.querySelector("[data-why-body]");
  let timer = 0;

  async function renew(address) {
    const answer = await fetch(`${address}?fragment`).catch(() => null);
    if (!dialog.open || dialog.dataset.address !== address) return;
    if (answer?.ok && !answer.redirected) {
      // The server's own markup, as if it were a page of its own; our policy lets no script of it run.
      const fragment = new DOMParser().parseFromString(await answer.text(), "text/html");
      body.replaceChildren(...fragment.body.childNodes);
    }
    timer = setTimeout(renew, EVERY_MS, address);
  }

  root.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-why]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    dialog.dataset.address = link.getAttribute("href");
    dialog.querySelector("[data-why-id]").textContent = link.textContent;
    body.textContent = "Asking the gateway…";
    dialog.showModal();
    clearTimeout(timer);
    renew(dialog.dataset.address);
  });
  dialog.addEventListener("close", () => clearTimeout(timer));
}
