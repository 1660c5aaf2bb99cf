// What the marks on a chart say in full: a list that opens by a click on their words, or by its button.

import { timeOfDay } from "./units.js";

/** @param {{at: number, text: string, by?: string, link?: string}[]} marks in the order of time; `link` leads to a note */
export function tellMoments(marks, utc) {
  const dialog = document.querySelector("[data-moments-dialog]");
  if (!dialog || dialog.open) return;
  dialog.querySelector("ul").replaceChildren(...marks.map((mark) => line(mark, utc)));
  dialog.showModal();
}

function line({ at, text, by, link }, utc) {
  const entry = document.createElement("li");
  const time = document.createElement("span");
  time.className = "when";
  time.textContent = timeOfDay(at * 1000, utc);
  const words = document.createElement(link ? "a" : "span");
  words.textContent = text;
  if (link) words.href = link;
  entry.append(time, " ", words);
  if (by) {
    const owner = document.createElement("span");
    owner.className = "quiet";
    owner.textContent = ` by ${by}`;
    entry.append(owner);
  }
  return entry;
}
