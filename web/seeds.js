/** Seeds: a new node keeps its seed, so that a second Run is not paid for by accident; a button asks for a new one. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { run } from "./errors.js";
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
  api.addEventListener("execution_start", () => eachNode(removeButton));
  api.addEventListener("execution_cached", ({ detail }) => {
    for (const id of detail.nodes) offer(id);
  });
  api.addEventListener("executed", ({ detail }) => {
    if (detail.output?.xalora_reused?.[0]) offer(detail.display_node ?? detail.node);
  });
}

function offer(id) {
  const node = app.graph.getNodeById(id);
  if (!node || !seedOf(node) || widgetOf(node, BUTTON)) return;
  const made = node.addWidget("button", BUTTON, "", () => {
    const seed = seedOf(node);
    seed.value = Math.floor(Math.random() * HIGHEST);
    seed.callback?.(seed.value);
    removeButton(node);
    run();
  }, { serialize: false });
  made.label = t("newSeed");
  made.serialize = false;
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  app.graph.setDirtyCanvas(true, true);
}

function removeButton(node) {
  const made = widgetOf(node, BUTTON);
  if (!made) return;
  if (node.removeWidget) node.removeWidget(made);
  else node.widgets.splice(node.widgets.indexOf(made), 1);
}

function eachNode(action) {
  for (const node of app.graph.nodes) if (seedOf(node)) action(node);
}
