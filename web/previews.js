/** After a reload of the page, Xalora's nodes show again what they made last: ComfyUI's history still has it. */

import { app } from "../../scripts/app.js";

const RUNS_TO_LOOK_AT = 20;
const NO_ID = "00000000-0000-0000-0000-000000000000"; // of a workflow that was cleared

/** The newest answer of this node: of a run of this workflow, or of one where the node had the same values. */
function latestAnswer(runs, node) {
  const { id, type, widgets_values } = node.serialize();
  const values = JSON.stringify(widgets_values);
  for (const [promptId, { prompt, outputs }] of runs) {
    const workflow = prompt[3]?.extra_pnginfo?.workflow;
    const then = workflow?.nodes?.find((old) => old.id === id && old.type === type);
    if (!then || !outputs[id]?.images) continue;
    const sameWorkflow = workflow.id === app.graph.id && workflow.id !== NO_ID;
    if (sameWorkflow || JSON.stringify(then.widgets_values) === values) return { promptId, output: outputs[id] };
  }
}

async function showEarlierResults() {
  const nodes = app.graph.nodes.filter(({ id, type }) => type.startsWith("Xalora") && !app.nodeOutputs[id]);
  if (!nodes.length) return;
  const reply = await app.api.fetchApi(`/history?max_items=${RUNS_TO_LOOK_AT}`);
  const runs = Object.entries(await reply.json()).reverse();
  for (const node of nodes) {
    const answer = latestAnswer(runs, node);
    if (!answer) continue;
    // The message that the server sends when a node is done: every canvas shows it in its own way.
    const id = String(node.id);
    const { images, animated } = answer.output; // Without the mark of a reused result: that run is over.
    const message = { node: id, display_node: id, output: { images, animated }, prompt_id: answer.promptId };
    app.api.dispatchCustomEvent("executed", message);
  }
}

app.registerExtension({
  name: "Xalora.Previews",
  afterConfigureGraph: () => showEarlierResults().catch((error) => console.warn("Xalora: no earlier results", error)),
});
