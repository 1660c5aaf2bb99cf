// Puts text into the page and leaves alone what is the same: focus, selection and scrolling stay.

export function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export function setTitle(element, text) {
  if (element.title !== text) element.title = text;
}

/** A list of sentences; hidden when there is none. */
export function patchList(list, sentences) {
  while (list.children.length > sentences.length) list.lastElementChild.remove();
  while (list.children.length < sentences.length) list.append(document.createElement("li"));
  sentences.forEach((sentence, i) => setText(list.children[i], sentence));
  list.hidden = sentences.length === 0;
}

/** Rows of text; `numeric` names the columns that stand to the right, `labels` what each is called where rows are cards. */
export function patchTable(body, rows, numeric = [], labels = []) {
  while (body.children.length > rows.length) body.lastElementChild.remove();
  rows.forEach((texts, i) => {
    const row = body.children[i] ?? body.appendChild(document.createElement("tr"));
    texts.forEach((text, j) => {
      const cell = row.children[j] ?? row.appendChild(document.createElement("td"));
      if (numeric.includes(j)) cell.className = "num";
      if (labels[j]) cell.dataset.label = labels[j];
      setText(cell.firstElementChild ?? cell, text);
    });
  });
}
