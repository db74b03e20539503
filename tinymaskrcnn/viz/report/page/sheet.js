// What differs between a mouse and a finger: the words, and on narrow screens the details as a sheet
// that rises from the bottom, over a bar with the steps before and after.

const FINGER = matchMedia("(hover: none)").matches;
const TAP = FINGER ? "tap" : "click";
const HOVER = FINGER ? "Tap" : "Hover over";
const MOVE = FINGER ? "Tap anywhere in the image" : 'Move over the image, or use <kbd>Shift</kbd> and the arrow keys';

class Sheet {
  constructor(aside, main) {
    this.aside = aside;
    this.main = main;
    this.button = el("button", { type: "button", class: "plain handle", id: "sheet", "aria-expanded": "false", "aria-controls": "details", onclick: () => (this.open ? this.hide() : this.show()) });
    this.name("details");
  }

  get open() { return this.aside.classList.contains("open"); }
  get floats() { return getComputedStyle(this.aside).position === "fixed"; }

  name(text) {
    this.text = text;
    this.button.replaceChildren(el("span", {}, text), el("i", { "aria-hidden": "true" }, this.open ? "▾" : "▴"));
  }

  // Opens over the lower part of the window; the image moves up, so that both can be seen.
  show() {
    if (!this.floats) return;
    this.set(true);
    const top = innerHeight - parseFloat(getComputedStyle(this.aside).bottom) - this.aside.offsetHeight; // where it will have risen to
    const over = this.main.querySelector(".stage").getBoundingClientRect().bottom - top;
    if (over > 0) scrollBy(0, over + 8);
  }

  hide() { this.set(false); }

  set(open) {
    this.aside.classList.toggle("open", open);
    this.button.setAttribute("aria-expanded", String(open));
    this.name(this.text);
  }
}

// A table that is wider than its place fades at the edge and says so.
function markOverflow(node) {
  requestAnimationFrame(() => {
    for (const box of node.querySelectorAll(".scroll")) {
      const hidden = box.scrollWidth > box.clientWidth + 1;
      box.classList.toggle("hides", hidden);
      if (hidden && !box.nextElementSibling?.classList.contains("sideways")) box.after(el("p", { class: "fine sideways" }, "scroll sideways for the rest →"));
    }
  });
}
