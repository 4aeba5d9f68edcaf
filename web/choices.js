/** What the server knows: a list beside a text that it can set, and what an upscaler uses. The texts stay texts. */

import { app } from "../../scripts/app.js";
import { ask } from "./server.js";
import { t } from "./texts.js";

/** Milliseconds for which an answer counts. */
const FRESH = 30_000;

let asked = { at: -Infinity, workflows: null };

/** The workflows of the server in force; none where it does not tell. */
function available() {
  if (Date.now() - asked.at > FRESH) asked = { at: Date.now(), workflows: ask("/workflows").catch(() => []) };
  return asked.workflows;
}

const ADDED = {
  XaloraFluxLora(node, workflows) {
    const flux = workflows.find((each) => each.task_type === "txt2img" && each.workflow_id === "3");
    const names = flux?.parameters.find(({ name }) => name === "lora_name")?.choices;
    addList(node, t("chooseLora"), names ?? [], (name) => ({ lora_name: name }));
  },
  XaloraRunWorkflow(node, workflows) {
    const names = workflows.map((each) => [each.task_type, each.workflow_id].filter(Boolean).join("."));
    addList(node, t("chooseWorkflow"), names, (name) => {
      const [task_type, workflow_id = ""] = name.split(".");
      return { task_type, workflow_id };
    });
  },
  XaloraUpscale(node, workflows) {
    const upscaler = workflows.find((each) => each.task_type === "upscaler" && !each.workflow_id);
    const factor = upscaler?.usual_factor ? [`${upscaler.usual_factor}×`] : [];
    const text = [...factor, ...(upscaler?.usual_models ?? [])].join(", ");
    if (text) addWidget(node, "text", t("upscaler"), text, null, { read_only: true }).disabled = true;
  },
};

/** Add to a new node what the server knows about it. Nothing of it is saved or sent. */
export async function addChoices(node) {
  const add = ADDED[node.comfyClass];
  if (add) add(node, await available());
}

function addList(node, label, values, chosen) {
  if (!values.length) return;
  addWidget(node, "combo", label, "", (value) => {
    for (const [name, text] of Object.entries(chosen(value))) {
      const widget = node.widgets.find((each) => each.name === name);
      widget.value = text;
      widget.callback?.(text);
    }
    app.graph.setDirtyCanvas(true, true);
  }, { values });
}

/** Add a widget at the end, where it moves no saved value. */
function addWidget(node, type, label, value, callback, options) {
  const made = node.addWidget(type, `xalora_${type}`, value, callback, { ...options, serialize: false });
  Object.assign(made, { label, serialize: false });
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  app.graph.setDirtyCanvas(true, true);
  return made;
}
