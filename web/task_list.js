/** The list box with the rows of tasks. A refresh changes rows and moves none: focus, selection and scroll position stay. */

import { element } from "./elements.js";
import { batches, tasksOf } from "./task_batches.js";
import { newRow } from "./task_row.js";

const ROW_HEIGHT = 80;
const BEYOND = 15;
const STILL_MS = 120;

/**
 * @param {string} label what the list is called
 * @param {() => void} onSelect
 * @param {(task: object) => void} onOpen for a double click or Enter
 * @param {() => void} onView when the tasks in view should be fetched: scrolling has paused, or the end is near
 */
export class TaskList {
  selected = null;
  #loaded = [];
  /** The same as rows: some stand for a batch. */
  #tasks = [];
  #total = 0;
  /** The rows by their tasks' numbers. */
  #rows = new Map();
  /** Not 0 while the list is scrolled. */
  #moving = 0;

  constructor({ label, onSelect, onOpen, onView }) {
    this.onSelect = onSelect;
    this.onOpen = onOpen;
    this.onView = onView;
    this.element = element("div.xalora-list", { role: "listbox", tabIndex: 0, "aria-label": label });
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("click", ({ target }) => this.select(taskOf(target)));
    this.element.addEventListener("dblclick", ({ target }) => onOpen(taskOf(target)));
    new ResizeObserver(() => {
      this.#fetchMore();
      this.#loadPictures();
    }).observe(this.element);
  }

  /** The positions of tasks that are in view: the first, and the first below. */
  view() {
    const seen = this.#tasks.slice(...this.#rowsInView()).flatMap(tasksOf).map((task) => this.#loaded.indexOf(task));
    return seen.length ? [Math.min(...seen), Math.max(...seen) + 1] : [0, 0];
  }

  #rowsInView() {
    const { scrollTop, clientHeight } = this.element;
    return [Math.max(0, Math.floor(scrollTop / ROW_HEIGHT)), Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT)];
  }

  /** Show these tasks, the newest of so many; the selected one stays selected if it is among them. */
  set(loaded, total) {
    const tasks = batches(loaded);
    this.#loaded = loaded;
    this.#tasks = tasks;
    this.#total = total;
    const numbers = new Set(tasks.map(({ number }) => number));
    for (const [number, row] of this.#rows) {
      if (numbers.has(number)) continue;
      row.remove();
      this.#rows.delete(number);
    }
    let next = this.element.firstElementChild;
    for (const [position, task] of tasks.entries()) {
      const row = this.#rows.get(task.number) ?? this.#newRow(task);
      if (row === next) next = row.nextElementSibling;
      else this.element.insertBefore(row, next);
      if (row.task !== task) row.show(task);
      row.ariaPosInSet = position + 1;
      row.ariaSetSize = total - loaded.length + tasks.length;
    }
    this.#mark(tasks.find(({ number }) => number === this.selected?.number) ?? null);
    this.#loadPictures();
  }

  /** Bring the clocks of tasks that are under way up to date. */
  tick() {
    for (const { task, show } of this.#rows.values()) if (!task.final) show(task);
  }

  /** Load a task's picture again, which may have been missing. */
  reload(task) {
    this.#rows.get(task.number)?.load(true);
  }

  /** Select a task and bring it into view. */
  select(task) {
    if (!task) return;
    const top = this.#tasks.indexOf(task) * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) this.element.scrollTop = top + ROW_HEIGHT - clientHeight;
    this.#mark(task);
    this.onSelect();
  }

  #mark(task) {
    this.#rows.get(this.selected?.number)?.setAttribute("aria-selected", false);
    this.selected = task;
    const row = task && this.#rows.get(task.number);
    row?.setAttribute("aria-selected", true);
    if (row) this.element.setAttribute("aria-activedescendant", row.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  #newRow({ number }) {
    const row = newRow();
    row.id = `xalora-task-${number}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", false);
    this.#rows.set(number, row);
    return row;
  }

  #scrolled() {
    this.#fetchMore();
    clearTimeout(this.#moving);
    this.#moving = setTimeout(() => {
      this.#moving = 0;
      this.onView();
    }, STILL_MS);
  }

  /** Load the pictures in view, but not those that are passed while the list is scrolled. */
  #loadPictures() {
    if (!this.#moving) for (const { number } of this.#tasks.slice(...this.#rowsInView())) this.#rows.get(number).load();
  }

  /** Have more fetched where the end is near. */
  #fetchMore() {
    if (this.#loaded.length < this.#total && this.#rowsInView()[1] + BEYOND > this.#tasks.length) this.onView();
  }

  #key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW_HEIGHT) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps && this.#tasks.length) {
      const position = this.#tasks.indexOf(this.selected) + steps[event.key];
      this.select(this.#tasks[Math.min(Math.max(0, position), this.#tasks.length - 1)]);
    } else if (event.key === "Enter" && this.selected) this.onOpen(this.selected);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

const taskOf = (target) => target.closest("[role=option]")?.task;
