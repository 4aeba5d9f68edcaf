/** All tasks of the ledger, newest first. The server pushes that something has changed; what it is, is asked for here. */

import { api } from "../../scripts/api.js";
import { ask, OfflineError, send } from "./server.js";
import { onSettings } from "./settings_state.js";

const FIRST_PAGE = 200;
const PAGE = 1000;
const SECONDS_BETWEEN_REFRESHES = 10;

/** Tells its listeners ("change") whenever something is different. */
class TaskStore extends EventTarget {
  /** @type {Map<number, object>} tasks by their numbers */
  tasks = new Map();
  loading = false;
  loaded = false;
  /** @type {Error | null} why the list could not be loaded or brought up to date */
  error = null;
  /** @type {string | null} why the sequencer could not be asked about open tasks */
  problem = null;
  /** Seconds that the server's clock is ahead of this one. */
  ahead = 0;
  /** @type {string | null} the server in force: only its tasks can be asked about, and the sandbox's */
  server = null;
  /** The numbers of open tasks that their server does not know any more. */
  #unknown = new Set();
  /** @type {number | null} the version that the list has */
  #version = null;
  /** @type {Promise<void> | null} */
  #updating = null;
  #stale = false;
  #sorted = null;
  #load = 0;
  /** What was heard of tasks since the list began to load: it is newer than the list. null: the task is gone. */
  #heard = new Map();

  constructor() {
    super();
    api.addEventListener("xalora.tasks", () => this.update());
    api.addEventListener("reconnecting", () => this.#failed(new OfflineError()));
    api.addEventListener("reconnected", () => this.load());
    // Another server may be in force.
    onSettings(() => this.loaded && this.load());
  }

  /** The tasks, newest first. */
  get list() {
    this.#sorted ??= [...this.tasks.values()].sort((one, other) => other.number - one.number);
    return this.#sorted;
  }

  /** How many tasks are under way. */
  get running() {
    return this.list.filter((task) => this.isRunning(task)).length;
  }

  /** Whether a task is under way, as far as its server can tell. */
  isRunning(task) {
    return (task.state === "waiting" || task.state === "running") && !this.doubt(task);
  }

  /** Why nobody knows what an open task does: "elsewhere" or "unknown". null: its server can tell. */
  doubt(task) {
    if (task.final || !task.task_id) return null;
    if (this.server !== null && task.server !== this.server && task.server !== "sandbox") return "elsewhere";
    return this.#unknown.has(task.number) ? "unknown" : null;
  }

  /** Whether a task's server can be asked what has become of it. */
  canAsk(task) {
    return !task.final && task.task_id !== null && this.doubt(task) !== "elsewhere";
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
        // What changes from the first page on is asked for.
        if (before === "") this.#version = page.version;
        before = page.next;
        this.#note(page);
        if (!this.loaded || before === null) this.#replace(fresh);
      }
      this.loaded = true;
      this.error = null;
      this.update();
    } catch (error) {
      if (load !== this.#load) return;
      // Parts are missing, so it is loaded whole the next time.
      this.#version = null;
      this.error = error;
    }
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

  /** Ask for what has changed. What changes while the answer is under way is asked for after it. */
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
      if (this.#version === null) {
        // A list that is being loaded asks at its end.
        if (!this.loading) await this.load();
        continue;
      }
      try {
        const changes = await ask(`/changes?since=${this.#version}`);
        this.#note(changes);
        if (changes.reload) {
          await this.load();
          continue;
        }
        this.#version = changes.version;
        this.error = null;
        this.#hear(changes.tasks.map((task) => [task.number, task]));
      } catch (error) {
        this.#failed(error);
      }
    }
  }

  /** Ask the sequencer about open tasks. Returns why some could not be asked about, or null. */
  async refresh() {
    if (!this.list.some((task) => this.canAsk(task))) {
      this.problem = null;
    } else {
      try {
        const { problem, unknown } = await send("/refresh");
        this.problem = problem;
        this.#unknown = new Set(unknown);
        await this.update();
      } catch (error) {
        if (error instanceof OfflineError) this.#failed(error);
        else this.problem = error.message;
      }
    }
    this.#tell();
    return this.problem;
  }

  /** While the list is looked at, ask the sequencer about open tasks again and again; returns what ends that. */
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

  #note({ now, server }) {
    this.ahead = now - Date.now() / 1000;
    this.server = server;
  }

  #failed(error) {
    this.error = error;
    this.#tell();
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
