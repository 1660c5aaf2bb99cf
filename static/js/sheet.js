/* The draft's pages: a tier dragged to another place, and which field was refused.
   Saving is htmx's; the arrows beside each row do the same as dragging, for keyboards and readers. */

/** @returns {number} the place, from 0, of a pointer at height y among rows with these middles */
export function placeAt(y, middles) {
  return middles.filter((middle) => middle < y).length;
}

function drag(grip, start) {
  const row = grip.closest("[data-row]");
  const rows = row.parentElement;
  const others = [...rows.children].filter((other) => other !== row);
  const before = [...rows.children].indexOf(row);
  let place = before;

  // The others step aside: a row that left the page for a moment would lose the pointer.
  const settle = () => {
    row.before(...others.slice(0, place));
    row.after(...others.slice(place));
  };
  const move = (event) => {
    const middles = others.map((other) => {
      const box = other.getBoundingClientRect();
      return box.top + box.height / 2;
    });
    const next = placeAt(event.clientY, middles);
    if (next !== place) {
      place = next;
      settle();
    }
  };
  const end = (event) => {
    grip.removeEventListener("pointermove", move);
    grip.removeEventListener("pointerup", end);
    grip.removeEventListener("pointercancel", end);
    row.classList.remove("is-dragged");
    if (event.type === "pointercancel") {
      place = before;
      settle();
    } else if (place !== before) {
      const drop = rows.parentElement.querySelector("[data-drop]");
      drop.value = `place:${row.dataset.row}:${place}`;
      drop.click();
    }
  };
  grip.setPointerCapture(start.pointerId);
  grip.addEventListener("pointermove", move);
  grip.addEventListener("pointerup", end);
  grip.addEventListener("pointercancel", end);
  row.classList.add("is-dragged");
}

function mark(note) {
  const field = document.querySelector(`[aria-describedby="${note.id}"]`);
  if (note.classList.contains("is-error")) field?.setAttribute("aria-invalid", "true");
  else field?.removeAttribute("aria-invalid");
}

/** A press while an answer is on its way would be lost: the button leaves with the rows the answer
    replaces.  Then the one that took its place is pressed. */
function keepPresses() {
  let pressed = null;
  document.addEventListener("click", (event) => {
    pressed = event.target.closest?.('[hx-target="#sheet"]') ?? pressed;
  }, true);
  document.addEventListener("htmx:beforeSend", ({ detail }) => {
    if (detail.elt === pressed) pressed = null;
  });
  document.addEventListener("htmx:afterSettle", ({ detail }) => {
    if (!pressed || pressed.isConnected) return;
    const successor = document.getElementById(pressed.id);
    pressed = null;
    if (detail.xhr.status === 200) successor?.click();
  });
}

if (typeof document !== "undefined") {
  keepPresses();
  document.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest?.("[data-grip]");
    if (grip && event.button === 0) {
      event.preventDefault();
      drag(grip, event);
    }
  });
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.xhr.status === 409) detail.shouldSwap = true; // says what another window saved
  });
  // The first change is saved without a new page: from then on there is something to discard.
  document.addEventListener("htmx:oobAfterSwap", () => {
    const discard = document.querySelector(".tabs-end button");
    if (discard) discard.disabled = document.querySelector("#saved")?.dataset.edit === "0";
  });
  const markAll = () => document.querySelectorAll("[data-sheet] .note").forEach(mark);
  new MutationObserver(markAll).observe(document.body, { childList: true, subtree: true });
}
