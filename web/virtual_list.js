/** A list box that has elements only for the rows in view, however many there are. */

import { element } from "./elements.js";

const ROW_HEIGHT = 64;
const BEYOND = 4;
const STILL_MS = 120;

let lists = 0;

/**
 * @param {string} label what the list is called
 * @param {() => HTMLElement & {show(item: object): void, rest(item: object): void}} makeRow `show` fills a row at
 *   once, `rest` adds what is slow, when scrolling has paused
 * @param {(item: object | null) => void} onSelect
 * @param {(item: object) => void} onOpen for a double click or Enter
 */
export class VirtualList {
  items = [];
  selected = null;
  #id = `xalora-list-${++lists}`;
  #rows = new Map();
  #spare = [];
  #still = 0;

  constructor({ label, makeRow, onSelect, onOpen }) {
    this.makeRow = makeRow;
    this.onSelect = onSelect;
    this.content = element("div.xalora-rows", { role: "presentation" });
    this.element = element("div.xalora-list", { role: "listbox", tabIndex: 0, "aria-label": label }, this.content);
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.content.addEventListener("click", ({ target }) => this.select(this.#itemOf(target)));
    this.content.addEventListener("dblclick", ({ target }) => onOpen(this.#itemOf(target)));
    this.onOpen = onOpen;
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** Show these items; what is selected stays so if it is among them. */
  set(items) {
    this.items = items;
    this.content.style.height = `${items.length * ROW_HEIGHT}px`;
    if (this.selected) this.selected = items.find(({ number }) => number === this.selected.number) ?? null;
    this.draw();
  }

  /** Select an item and bring it into view. */
  select(item) {
    if (!item) return;
    this.selected = item;
    const top = this.items.indexOf(item) * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) this.element.scrollTop = top + ROW_HEIGHT - clientHeight;
    this.draw();
    this.onSelect(item);
  }

  /** Bring the rows in view up to date. */
  draw() {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - BEYOND);
    const last = Math.min(this.items.length, Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + BEYOND);
    for (const [place, row] of this.#rows) {
      if (place < first || place >= last) {
        this.#rows.delete(place);
        this.#spare.push(row);
        row.hidden = true;
      }
    }
    for (let place = first; place < last; place++) this.#draw(place);
    const chosen = this.items.indexOf(this.selected);
    if (chosen >= first && chosen < last) this.element.setAttribute("aria-activedescendant", `${this.#id}-${chosen}`);
    else this.element.removeAttribute("aria-activedescendant");
    clearTimeout(this.#still);
    this.#still = setTimeout(() => this.#rest(), STILL_MS);
  }

  #draw(place) {
    let row = this.#rows.get(place);
    if (!row) {
      row = this.#spare.pop() ?? this.#newRow();
      this.#rows.set(place, row);
      row.id = `${this.#id}-${place}`;
      row.style.transform = `translateY(${place * ROW_HEIGHT}px)`;
      row.hidden = false;
    }
    const item = this.items[place];
    row.setAttribute("aria-posinset", place + 1);
    row.setAttribute("aria-setsize", this.items.length);
    row.setAttribute("aria-selected", item === this.selected);
    row.show(item);
  }

  #newRow() {
    const row = this.makeRow();
    row.setAttribute("role", "option");
    this.content.append(row);
    return row;
  }

  #rest() {
    for (const [place, row] of this.#rows) if (this.items[place]) row.rest(this.items[place]);
  }

  #scrolled() {
    requestAnimationFrame(() => this.draw());
  }

  #itemOf(target) {
    const row = target.closest("[role=option]");
    return row && this.items[row.getAttribute("aria-posinset") - 1];
  }

  #key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW_HEIGHT) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps && this.items.length) {
      const place = this.items.indexOf(this.selected) + steps[event.key];
      this.select(this.items[Math.min(Math.max(0, place), this.items.length - 1)]);
    } else if (event.key === "Enter" && this.selected) this.onOpen(this.selected);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
