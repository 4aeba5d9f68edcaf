/** Seeds: a new node keeps its seed, so that a second Run is not paid for by accident; a button asks for a new one. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { run } from "./errors.js";
import { changeRow } from "./node_shape.js";
import { t } from "./texts.js";

const BUTTON = "xalora_new_seed";
const HIGHEST = Number.MAX_SAFE_INTEGER;

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);
const seedOf = (node) => node.comfyClass?.startsWith("Xalora") && widgetOf(node, "seed");

/** For a node that was just made. A saved workflow's values come after this, and stay. */
export function keepSeed(node) {
  const control = seedOf(node) && widgetOf(node, "control_after_generate");
  if (control) control.value = "fixed";
}

/** Offer a new seed in nodes whose run made nothing new, until the next run. */
export function offerNewSeeds() {
  api.addEventListener("execution_start", ({ detail }) => {
    running = detail.prompt_id;
    eachNode(removeButton);
  });
  api.addEventListener("execution_cached", ({ detail }) => offerAll(detail.nodes, detail.prompt_id));
  api.addEventListener("executed", ({ detail }) => {
    if (detail.output?.xalora_reused?.[0]) offerAll([detail.display_node ?? detail.node], detail.prompt_id);
  });
}

/** The prompt that runs, or ran last. */
let running = null;

async function offerAll(ids, prompt) {
  const fitting = () => ids.map((id) => app.graph.getNodeById(id)).filter((node) => node && mayOffer(node));
  if (!fitting().length) return;
  // Another workflow that is open may have run, and has the same ids for other nodes.
  const workflow = await workflowOf(prompt).catch(() => null);
  if (workflow && workflow === app.graph.id && prompt === running) for (const node of fitting()) offer(node);
}

/** Whether the node has a seed that a button can change. A linked one comes from another node. */
function mayOffer(node) {
  const linked = node.inputs?.some(({ widget, link }) => widget?.name === "seed" && link !== null && link !== undefined);
  return seedOf(node) && !linked && !widgetOf(node, BUTTON);
}

/** The id of the workflow that a prompt was made of. */
async function workflowOf(prompt) {
  // In this order: what has ended in between is in the history.
  const { queue_running: now } = await (await api.fetchApi("/queue")).json();
  const entry = now.find(([, id]) => id === prompt) ?? (await (await api.fetchApi(`/history/${prompt}`)).json())[prompt]?.prompt;
  return entry?.[3]?.extra_pnginfo?.workflow?.id;
}

function offer(node) {
  changeRow(node, () => {
    const made = node.addWidget("button", BUTTON, "", () => {
      const seed = seedOf(node);
      seed.value = Math.floor(Math.random() * HIGHEST);
      seed.callback?.(seed.value);
      removeButton(node);
      run();
    }, { serialize: false });
    made.label = t("newSeed");
    made.serialize = false;
  });
}

function removeButton(node) {
  const made = widgetOf(node, BUTTON);
  if (!made) return;
  changeRow(node, () => {
    if (node.removeWidget) node.removeWidget(made);
    else node.widgets.splice(node.widgets.indexOf(made), 1);
  });
}

function eachNode(action) {
  for (const node of app.graph.nodes) if (seedOf(node)) action(node);
}
