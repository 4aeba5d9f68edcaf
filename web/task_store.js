/** The tasks that the tab shows. The server has them in pages, and says when something has changed. */

import { api } from "../../scripts/api.js";
import { ask, OfflineError, send } from "./server.js";
import { onSettings } from "./settings_state.js";
import { errorWords } from "./texts.js";

const PAGE = 40;
const SECONDS_BETWEEN_REFRESHES = 10;

/** Tells its listeners ("change") whenever something is different. */
class TaskStore extends EventTarget {
  /** @type {object[]} what was fetched so far, newest first; a task that has not changed stays the same object */
  tasks = [];
  /** How many tasks there are that meet the filter, in all, and under way. */
  total = 0;
  all = 0;
  running = 0;
  /** How many of those no node waits for now. */
  earlier = 0;
  /** The filter, and the one with which the tasks were fetched. */
  filter = { state: "", text: "" };
  /** @type {{state: string, text: string} | null} */
  found = null;
  /** @type {Error | null} why the tasks could not be fetched */
  error = null;
  /** @type {string | null} why the sequencer could not be asked about open tasks */
  problem = null;
  /** Seconds that the server's clock is ahead of this one. */
  ahead = 0;
  /** Which positions of the list are in view: the first, and the first below. */
  view = () => [0, 0];
  /** @type {Promise<void> | null} */
  #updating = null;
  #stale = false;

  constructor() {
    super();
    api.addEventListener("xalora.tasks", () => this.update());
    api.addEventListener("reconnecting", () => this.#failed(new OfflineError()));
    api.addEventListener("reconnected", () => this.update());
    // Another server may be in force.
    onSettings(() => this.found && this.update());
  }

  /** The server's time, in Unix seconds. */
  now() {
    return Date.now() / 1000 + this.ahead;
  }

  /** Show the tasks in these states, separated by commas, in which every word appears; "" stands for all. */
  find(state, text) {
    this.filter = { state, text };
    return this.update();
  }

  /** Fetch what is in view, and a page beyond. What changes while the answer is under way is fetched after it. */
  update() {
    this.#stale = true;
    this.#updating ??= this.#update().finally(() => {
      this.#updating = null;
    });
    return this.#updating;
  }

  async #update() {
    while (this.#stale) {
      this.#stale = false;
      const { filter } = this;
      const known = filter === this.found ? this.tasks : [];
      const [first, last] = this.view();
      const before = known[first - 1]?.number ?? Infinity;
      const query = { ...filter, before: before === Infinity ? "" : before, limit: PAGE + last - first };
      try {
        const page = await ask(`/tasks?${new URLSearchParams(query)}`);
        // The user has typed more: this is the answer to a shorter text.
        if (filter !== this.filter) continue;
        this.#merge(page, known, before);
        this.found = filter;
        this.error = null;
        this.dispatchEvent(new Event("change"));
      } catch (error) {
        this.#failed(error);
      }
    }
  }

  /** Replace the part of the list that a page covers: newer and older tasks stay. */
  #merge({ tasks, total, all, running, earlier, next, now }, known, before) {
    const byNumber = new Map(known.map((task) => [task.number, task]));
    const kept = (task) => {
      const known = byNumber.get(task.number);
      return JSON.stringify(known) === JSON.stringify(task) ? known : task;
    };
    this.tasks = [
      ...known.filter(({ number }) => number >= before),
      ...tasks.map(kept),
      ...known.filter(({ number }) => next !== null && number < next),
    ];
    Object.assign(this, { total, all, running, earlier, ahead: now - Date.now() / 1000 });
  }

  /** Ask the sequencer about open tasks. Returns how many of them have finished. */
  async refresh() {
    let finished = 0;
    try {
      const answer = await send("/refresh");
      finished = answer.finished;
      this.problem = answer.error ? errorWords(answer.error).text : null;
    } catch (error) {
      if (error instanceof OfflineError) {
        this.#failed(error);
        return finished;
      }
      this.problem = error.message;
    }
    await this.update();
    return finished;
  }

  /** Ask the sequencer about open tasks from time to time; returns a function that ends this. */
  follow() {
    let timer = 0;
    let ended = false;
    const refresh = async () => {
      await this.refresh();
      if (!ended) timer = setTimeout(refresh, SECONDS_BETWEEN_REFRESHES * 1000);
    };
    refresh();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }

  #failed(error) {
    this.error = error;
    this.dispatchEvent(new Event("change"));
  }
}

export const store = new TaskStore();
