/** The sidebar tab: the tasks of the ledger, and what can be done with them. */

import { app } from "../../scripts/app.js";
import { button, choice, element, menu } from "./elements.js";
import { openKeyDialog } from "./key_dialog.js";
import { OfflineError } from "./server.js";
import { cancelTask, collectTask, copyId, forgetTask, goToNode, insertNode, nodeOf, showSettings } from "./task_actions.js";
import { tasksOf } from "./task_batches.js";
import { TaskList } from "./task_list.js";
import { store } from "./task_store.js";
import { doubtName, stateName, subject } from "./task_words.js";
import { t } from "./texts.js";

const ID = "xalora";
const LONGEST_SEARCH = 500;
const BUTTONS = 2;

/** States that can be chosen, as the server knows them, and the names of their texts. */
const STATES = [
  ["", "all"],
  ["open", "open"],
  ["finished", "finished"],
  ["failed,canceled,refused", "failedOnes"],
];

let panel = null;
let unfollow = null;
let ticking = 0;

/** Add the tab. */
export function registerTab() {
  app.extensionManager.registerSidebarTab({
    id: ID,
    icon: "pi pi-cloud",
    title: t("title"),
    tooltip: t("tasks"),
    type: "custom",
    render: open,
    destroy: close,
  });
  store.addEventListener("change", showBadge);
}

/** Open the tab, unless it is open. */
export async function openTab() {
  if (!panel?.element.isConnected) await app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${ID}`);
}

/** The number of running tasks, on the tab's icon. The editor has its own copy of the tab, and watches that one. */
function showBadge() {
  const tab = app.extensionManager.getSidebarTabs?.().find(({ id }) => id === ID);
  const badge = store.running ? String(store.running) : null;
  if (tab && tab.iconBadge !== badge) tab.iconBadge = badge;
}

function open(container) {
  // The editor calls this again whenever it draws the tab.
  if (panel?.element.parentNode === container) return;
  close();
  panel = new Panel();
  container.classList.add("xalora-tab");
  container.replaceChildren(panel.element);
  panel.update();
  store.update();
  unfollow = store.follow();
  ticking = setInterval(() => panel.tick(), 1000);
}

function close() {
  unfollow?.();
  clearInterval(ticking);
  panel?.stop();
  panel = unfollow = null;
}

class Panel {
  constructor() {
    this.search = element("input.xalora-input", {
      type: "search",
      placeholder: t("filter"),
      "aria-label": t("filter"),
      maxLength: LONGEST_SEARCH,
      oninput: () => this.find(),
    });
    this.state = choice(STATES.map(([states, name]) => [states, t(name)]), "", () => this.find());
    this.state.setAttribute("aria-label", t("filterState"));
    this.count = element("p.xalora-hint", { role: "status" });
    this.problem = element("p.xalora-problem", { role: "status" });
    this.message = element("div.xalora-message");
    this.details = element("div.xalora-details");
    this.list = new TaskList({
      label: t("tasks"),
      onSelect: () => this.showDetails(),
      onOpen: (task) => this.collect(task),
      onView: () => store.update(),
    });
    // The editor's shortcuts, such as Delete for nodes, are not meant for the list.
    this.element = element(
      "section.xalora.xalora-panel",
      { "aria-label": t("tasks"), onkeydown: (event) => event.stopPropagation() },
      element("div.xalora-filters", {}, this.search, this.state),
      this.count,
      this.problem,
      this.message,
      this.list.element,
      this.details,
    );
    this.update = this.update.bind(this);
    store.addEventListener("change", this.update);
    store.view = () => this.list.view();
  }

  stop() {
    store.removeEventListener("change", this.update);
    store.view = () => [0, 0];
    // What is shown at first when the tab is opened again.
    store.find("", "");
  }

  async find() {
    await store.find(this.state.value, this.search.value);
    this.list.element.scrollTop = 0;
  }

  update() {
    const focused = this.element.contains(document.activeElement);
    this.list.element.hidden = !store.tasks.length;
    this.list.set(store.tasks, store.total);
    this.count.textContent = store.all ? t("count", { shown: store.total, total: store.all }) : "";
    this.problem.textContent = store.problem ? t("earlierProblem", { problem: store.problem }) : "";
    const message = element("div", {}, ...this.#message());
    // The same message stays: its button may have the focus.
    if (message.textContent !== this.message.textContent) this.message.replaceChildren(...message.childNodes);
    this.showDetails();
    if (focused) this.keepFocus();
  }

  /** The button that had the focus may be gone. */
  keepFocus() {
    if (document.activeElement === document.body) (this.list.element.hidden ? this.search : this.list.element).focus();
  }

  tick() {
    if (store.running && !store.error) this.list.tick();
  }

  #message() {
    if (store.error) {
      const offline = store.error instanceof OfflineError;
      const text = offline ? t("offline") : store.error.message;
      return [element("p", { role: "alert" }, text), button(t("tryAgain"), () => store.update())];
    }
    if (store.tasks.length) return [];
    if (!store.found) return [element("p", {}, t("loading"))];
    if (store.all) return [element("p", {}, t("noMatch"))];
    return [
      element("h3", {}, t("emptyTitle")),
      element("p", {}, t("emptyText")),
      button(t("emptyAdd"), () => insertNode("XaloraText2Video"), { primary: true }),
      button(t("keyTitle"), () => openKeyDialog()),
    ];
  }

  /** What can be done with the selected task. Drawn anew only when the task is another or has changed. */
  showDetails() {
    const task = this.list.selected;
    const now = JSON.stringify(task);
    if (now === this.detailsOf) return;
    this.detailsOf = now;
    const focused = document.activeElement?.dataset.action;
    this.details.replaceChildren();
    if (!task) return;
    const all = tasksOf(task);
    const finished = all.some(({ state }) => state === "finished");
    const shown = all.every(({ media }) => media);
    const actions = [
      ["cancel", t("cancelTask"), () => this.cancel(task), task.task_id && !task.final],
      ["collect", t(shown ? "show" : "collect"), () => this.collect(task), task.final && finished],
      ["node", t("goToNode"), () => goToNode(task), nodeOf(task)],
      ["settings", t("settings"), () => showSettings(task), true],
      ["check", t("collect"), () => this.collect(task), task.task_id && !task.final],
      ["insert", t("insertNode"), () => insertNode("XaloraTaskStatus", { task_id: task.task_id }), task.task_id && !task.batch],
      ["copy", t("copyId"), () => copyId(task), true],
      ["forget", t("forget"), () => forgetTask(task, () => this.forgotten()), true],
    ];
    const buttons = actions.filter(([, , , fits]) => fits).map(([name, text, action], place) => {
      const made = button(text, action, { primary: place === 0, danger: name === "forget" });
      made.dataset.action = name;
      return made;
    });
    const by = task.place?.title ? t("by_place", { title: task.place.title, node: task.place.node }) : t(`by_${task.source}`);
    const origin = [by, task.server === "sandbox" ? t("serverSandbox") : task.server];
    this.details.append(
      element("p.xalora-subject", {}, subject(task)),
      element("p.xalora-hint", {}, [stateName(task), doubtName(task), task.message === "canceled on request" ? null : task.message, ...origin].filter(Boolean).join(" · ")),
      element("div.xalora-actions", {}, ...buttons.slice(0, BUTTONS), ...menu(t("more"), buttons.slice(BUTTONS))),
    );
    this.details.querySelector(`[data-action="${focused}"]`)?.focus();
  }

  async collect(task) {
    if (!task?.task_id) return;
    await collectTask(task);
    this.list.reload(task);
    await store.update();
  }

  async cancel(task) {
    await cancelTask(task);
    await store.update();
  }

  async forgotten() {
    await store.update();
    // The dialog gave the focus back to a button that may be gone.
    this.keepFocus();
  }
}
