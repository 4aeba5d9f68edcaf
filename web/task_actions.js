/** What can be done with a task, and what is shown of it then. */

import { app } from "../../scripts/app.js";
import { button, element, openDialog } from "./elements.js";
import { dismiss, notify } from "./notices.js";
import { addressOf, ask, ofTask, send } from "./server.js";
import { tasksOf } from "./task_batches.js";
import { stateName, subject } from "./task_words.js";
import { t } from "./texts.js";

const SECONDS = 20;
const VIDEO = /\.(mp4|webm|mov|mkv)$/i;

/** Do something and say what went wrong, if anything did. Returns what it returns. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    notify({ text: error.message || t("offline"), details: error.details, kind: "error", seconds: SECONDS });
    return null;
  }
}

/** Send an action to a task, or to those of a batch. Returns the answers. */
const each = (task, action, fits = () => true) => Promise.all(tasksOf(task).filter(fits).map((one) => send(ofTask(one, action))));

/** Download a task's result and show it. Returns the task as it is then, or null. */
export const collectTask = (task) =>
  attempt(async () => {
    const waiting = notify({ text: t("collecting") });
    try {
      const answers = await each(task, "collect");
      const views = answers.flatMap((answer) => answer.views);
      const { task: now } = answers[0];
      for (const { task: one } of answers) if (one.state === "finished") dismiss(`task ${one.task_id}`);
      if (views.length) showResult(now, views);
      else if (now.state === "finished") notify({ text: t("notShown"), kind: "error" });
      else notify({ text: now.message ?? t("notYet", { state: stateName(now) }), seconds: 10 });
      return now;
    } finally {
      waiting.remove();
    }
  });

/** Cancel a task. Its node and its row show that; only where it ended before, a message does. Returns it, or null. */
export const cancelTask = (task) =>
  attempt(async () => {
    const [{ task: now }] = await each(task, "cancel", (one) => !one.final);
    if (now.state !== "canceled") notify({ text: t("canceledNow", { state: stateName(now) }), seconds: 8 });
    return now;
  });

/** Forget a task after a warning. `done` is called when it is forgotten. */
export function forgetTask(task, done) {
  const forget = button(
    t("forget"),
    () =>
      attempt(async () => {
        await each(task, "forget");
        dialog.close();
        done();
      }),
    { danger: true },
  );
  const text = t(task.final ? "forgetText" : "forgetOpen");
  const keep = button(t("cancel"), () => dialog.close());
  const dialog = openDialog(t("forgetTitle"), [element("p", {}, subject(task)), element("p", {}, text)], [keep, forget]);
  keep.focus();
}

/** Show the settings that a task was made with. */
export const showSettings = (task) =>
  attempt(async () => {
    const { task: known } = await ask(ofTask(task));
    const rows = Object.entries(flat(known.parameters)).map(([name, value]) =>
      element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, String(value))),
    );
    openDialog(t("settings"), [element("table.xalora-table", {}, element("tbody", {}, ...rows))]);
  });

/** Put a node in the middle of what is seen of the graph, which may be a subgraph. */
export function insertNode(type, values = {}) {
  const node = LiteGraph.createNode(type);
  const { canvas } = app;
  const [x, y, width, height] = canvas.visible_area ?? canvas.ds.visible_area;
  node.pos = [x + width / 2 - node.size[0] / 2, y + height / 2 - node.size[1] / 2];
  (canvas.graph ?? app.graph).add(node);
  for (const widget of node.widgets) if (widget.name in values) widget.value = values[widget.name];
  canvas.selectNode?.(node);
  canvas.setDirty(true, true);
}

/** The node that a task was made with, if it is in the workflow that is open. */
export function nodeOf({ place }) {
  const root = app.rootGraph ?? app.graph;
  if (!place?.workflow || place.workflow !== root.id) return null;
  return nodeAt(place.node);
}

/** The node with this id in the prompt: "5:12" is the node 12 in the subgraph that node 5 stands for. */
export function nodeAt(id) {
  const [first, ...rest] = id.split(":");
  const outer = (app.rootGraph ?? app.graph).getNodeById(first);
  return rest.reduce((node, inner) => node?.subgraph?.getNodeById(inner), outer) ?? null;
}

/** Show the node that a task was made with. */
export function goToNode(task) {
  const node = nodeOf(task);
  if (!node) return;
  if (app.canvas.graph !== node.graph) app.canvas.setGraph(node.graph);
  app.canvas.centerOnNode(node);
  app.canvas.selectNode?.(node);
}

/** Copy a task's id. */
export const copyId = (task) =>
  attempt(async () => {
    const id = tasksOf(task).map((one) => one.task_id ?? one.job_id).join("\n");
    if (await copied(id)) notify({ text: t("copied"), seconds: 3 });
    else notify({ text: t("copyYourself", { id }) });
  });

/** Put a text into the clipboard; returns whether that worked. */
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  // Over plain http from another computer, browsers have only the old way: what is selected is copied.
  const focused = document.activeElement;
  const field = element("textarea.xalora-aside", { value: text, readOnly: true });
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}

function showResult(task, views) {
  const media = views.map((view) => {
    const source = { src: addressOf(view) };
    return VIDEO.test(view.filename)
      ? element("video.xalora-media", { ...source, controls: true, autoplay: true, loop: true, muted: true })
      : element("img.xalora-media", { ...source, alt: subject(task) });
  });
  openDialog(t("result"), [...media, element("p.xalora-hint", {}, subject(task))]);
}

/** The values of nested objects side by side, their names joined by dots. */
function flat(value, name = "") {
  if (value === null || typeof value !== "object") return { [name]: value };
  const parts = Object.entries(value).map(([key, part]) => flat(part, name ? `${name}.${key}` : key));
  return Object.assign({}, ...parts);
}
