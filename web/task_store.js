/** All tasks of the ledger, newest first, kept up to date by what the server pushes. */

import { api } from "../../scripts/api.js";
import { ask, send } from "./server.js";

const FIRST_PAGE = 200;
const PAGE = 1000;
const SECONDS_BETWEEN_REFRESHES = 10;

/** Tells its listeners ("change") whenever something is different. */
class TaskStore extends EventTarget {
  /** @type {Map<number, object>} tasks by their numbers */
  tasks = new Map();
  loading = false;
  loaded = false;
  /** @type {Error | null} why the list could not be loaded */
  error = null;
  /** @type {string | null} why the sequencer could not be asked about open tasks */
  problem = null;
  /** Seconds that the server's clock is ahead of this one. */
  ahead = 0;
  #sorted = null;
  #load = 0;
  /** What was heard of tasks since the list began to load: it is newer than the list. null: the task is gone. */
  #heard = new Map();

  constructor() {
    super();
    api.addEventListener("xalora.tasks", ({ detail }) => this.#pushed(detail));
    api.addEventListener("reconnected", () => this.load());
  }

  /** The tasks, newest first. */
  get list() {
    this.#sorted ??= [...this.tasks.values()].sort((one, other) => other.number - one.number);
    return this.#sorted;
  }

  /** How many tasks are under way. */
  get running() {
    return this.list.filter((task) => !task.final).length;
  }

  /** The server's time, in Unix seconds. */
  now() {
    return Date.now() / 1000 + this.ahead;
  }

  /** Load the whole list anew, a small page first. */
  async load() {
    const load = ++this.#load;
    this.loading = true;
    this.#heard.clear();
    this.#tell();
    try {
      let before = "";
      const fresh = new Map();
      for (let limit = FIRST_PAGE; before !== null; limit = PAGE) {
        const page = await ask(`/tasks?limit=${limit}&before=${before}`);
        if (load !== this.#load) return;
        for (const task of page.tasks) fresh.set(task.number, task);
        before = page.next;
        this.ahead = page.now - Date.now() / 1000;
        if (!this.loaded || before === null) this.#replace(fresh);
      }
      this.loaded = true;
      this.error = null;
    } catch (error) {
      if (load === this.#load) this.error = error;
    }
    if (load !== this.#load) return;
    this.loading = false;
    this.#tell();
  }

  /** Take up what an answer says of one task. */
  put(task) {
    if (task) this.#hear([[task.number, task]]);
  }

  /** Leave a task out from now on. */
  remove(task) {
    this.#hear([[task.number, null]]);
  }

  /** While the list is looked at, ask the sequencer about open tasks again and again; returns what ends that. */
  follow() {
    const refresh = async () => {
      if (!this.running) return this.#note(null);
      const answer = await send("/refresh").catch((error) => ({ problem: error.message || null }));
      this.#note(answer.problem);
    };
    const timer = setInterval(refresh, SECONDS_BETWEEN_REFRESHES * 1000);
    refresh();
    return () => clearInterval(timer);
  }

  #note(problem) {
    if (problem === this.problem) return;
    this.problem = problem;
    this.#tell();
  }

  #pushed({ tasks, reload, now }) {
    this.ahead = now - Date.now() / 1000;
    this.#hear(tasks.map((task) => [task.number, task]));
    if (reload) this.load();
  }

  #hear(news) {
    for (const [number, task] of news) this.#heard.set(number, task);
    this.#replace(this.tasks);
  }

  #replace(tasks) {
    this.tasks = new Map([...tasks, ...this.#heard].filter(([, task]) => task));
    for (const [number, task] of this.#heard) if (!task) this.tasks.delete(number);
    this.#tell();
  }

  #tell() {
    this.#sorted = null;
    this.dispatchEvent(new Event("change"));
  }
}

export const store = new TaskStore();
