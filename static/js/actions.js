// On every page: strips of what is in force, dialogs to order something, and the gateway's answers.
// All of it works without this: links lead to forms, forms to pages.

import { left } from "./orders.js";
import { setText } from "./patch.js";

const STRIPS_EVERY_MS = 10_000; // where no frame tells of a change
const ANSWER_WAITS_MS = 15_000;
const TOLD_FOR_MS = 10_000;
const strips = document.querySelector("[data-strips]");
const dialog = document.querySelector("[data-act-dialog]");
const toasts = document.querySelector("[data-toasts]");

/** The server's own markup; our policy lets no script of it run. */
const parsed = (text) => new DOMParser().parseFromString(text, "text/html").body;
const bare = (text) => text.replace(/ value="[^"]*"/g, ""); // tokens differ each time
const asFragment = (address) => `${address}${address.includes("?") ? "&" : "?"}fragment`;

// Strips

export async function renewStrips() {
  const answer = await fetch(strips.dataset.strips).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const text = await answer.text();
  if (strips.dataset.text === bare(text)) return;
  strips.dataset.text = bare(text);
  strips.replaceChildren(...parsed(text).childNodes);
  countDown();
}

export function shownStrips() {
  return [...strips.querySelectorAll("[data-held]")].map((strip) => ({
    id: Number(strip.dataset.held),
    ends: Number(strip.querySelector("[data-ends]").dataset.ends),
  }));
}

function countDown() {
  const nowS = Date.now() / 1000;
  for (const time of document.querySelectorAll("[data-ends]")) setText(time, `in ${left(Number(time.dataset.ends) - nowS)}`);
  if (shownStrips().some(({ ends }) => ends < nowS)) renewStrips();
}

// Dialogs

let opened = ""; // what the dialog is about, as a page of its own

export async function open(address) {
  opened = address;
  const answer = await fetch(asFragment(address)).catch(() => null);
  if (answer?.redirected || answer?.status === 403) location.assign(address); // its page says what comes first
  else if (answer?.ok || answer?.status === 404) fill(await answer.text());
  else tell("The server does not answer. Nothing was done.");
}

function fill(text) {
  dialog.replaceChildren(...parsed(text).childNodes);
  if (!dialog.open) dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus(); // Enter means Cancel
}

/** Sends a form's fields; the answer is the form again, or the order that was made. */
export async function send(address, data) {
  const answer = await fetch(asFragment(address), { method: "POST", body: data }).catch(() => null);
  if (!answer) return tell("The server does not answer. Try again: nothing is done twice.");
  const text = await answer.text();
  const order = parsed(text).querySelector("[data-order]");
  if (order) {
    dialog.close();
    follow(order, toast(order));
    renewStrips();
  } else if (parsed(text).querySelector("[data-act-form]")) fill(text);
  else if (answer.redirected && dialog.open) location.assign(opened); // asked again who this is
  else tell(answer.status === 403 ? "Your account may not do this." : "That did not work. Nothing was done.");
}

document.addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (!form.matches("[data-act-dialog] form, [data-held-form], [data-undo]")) return;
  event.preventDefault();
  if (submitter?.name === "cancel") return dialog.close();
  send(form.getAttribute("action"), new FormData(form));
  form.closest(".toast-box")?.remove(); // its answer is another one
});

// Answers

export function tell(text) {
  const told = document.createElement("p");
  told.textContent = text;
  const box = toast(told);
  setTimeout(() => box.remove(), TOLD_FOR_MS);
}

function toast(content) {
  const box = document.createElement("div");
  box.className = "toast-box card";
  box.append(content);
  toasts.append(box);
  return box;
}

/** Renews an order until its gateway has answered. */
async function follow(order, box) {
  const address = `${toasts.dataset.toasts}${order.dataset.order}/`;
  const until = performance.now() + ANSWER_WAITS_MS;
  let shown = order;
  while (shown.dataset.answered === undefined && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const answer = await fetch(asFragment(address)).catch(() => null);
    const fresh = answer?.ok && !answer.redirected && parsed(await answer.text()).querySelector("[data-order]");
    if (!fresh) continue;
    shown.replaceWith(fresh);
    shown = fresh;
  }
  setTimeout(() => box?.remove(), TOLD_FOR_MS);
}

setInterval(countDown, 1000);
countDown();
// The live page's frames tell of changes sooner.
if (!document.querySelector("[data-live]")) setInterval(() => document.hidden || renewStrips(), STRIPS_EVERY_MS);
const page = document.querySelector("[data-order-page] [data-order]");
if (page) follow(page, null);
