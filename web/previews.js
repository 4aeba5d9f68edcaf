/**
 * What Xalora's nodes show of their results.
 *
 * An editor goes on showing a live preview when the result is there, and looks for the result's file in it. So first the
 * preview goes, then the result is shown; after a run that was stopped, the earlier one. After a reload of the page, the
 * nodes show again what they made last: ComfyUI's history still has it.
 */

import { app } from "../../scripts/app.js";
import { nodeAt } from "./task_actions.js";

const RUNS_TO_LOOK_AT = 20;
const NO_ID = "00000000-0000-0000-0000-000000000000"; // of a workflow that was cleared
const NOTHING = { images: [], animated: [] };
const MEDIA_WIDGETS = ["$$canvas-image-preview", "$$comfy_animation_preview", "video-preview"];

/** The nodes with a live preview, by their id in the prompt, each with the output to show after it. */
const previewed = new Map();

/** How far the prompt's nodes are, as the server said last. */
let progress = { nodes: {} };
let isOurs = false; // the event that is being sent

function send(event, detail) {
  isOurs = true;
  app.api.dispatchCustomEvent(event, detail);
  isOurs = false;
}

/** Show this output, by the message that the server sends when a node is done; the canvas is drawn anew once it is loaded. */
function show(id, { images, animated }) {
  // Without the mark of a reused result: that run is over.
  send("executed", { node: id, display_node: id, output: { images, animated } });
  for (const wait of [0, 300, 1000, 3000]) setTimeout(() => app.canvas.setDirty(true, true), wait);
}

/** Where the editor keeps a node's output and preview. */
const locator = ({ id, graph }) => (graph === (app.rootGraph ?? app.graph) ? `${id}` : `${graph.id}:${id}`);

/** Remove what the classic canvas shows: it does not remove one kind of media for another. */
function removeMedia(node) {
  node.widgets?.filter(({ name }) => MEDIA_WIDGETS.includes(name)).forEach((widget) => node.removeWidget(widget));
  Object.assign(node, { imgs: undefined, previewMediaType: undefined, videoContainer: undefined });
}

/** The node of ours with this id, if there is one, with the output to show after its live preview. */
function noted(id) {
  const node = nodeAt(id);
  if (!node?.type?.startsWith("Xalora")) return null;
  if (previewed.get(id)?.node !== node) previewed.set(id, { node, output: app.nodeOutputs[locator(node)] });
  return previewed.get(id);
}

function previewBegins(id) {
  const shown = noted(id);
  if (!shown || shown.isRunning) return;
  shown.isRunning = true;
  removeMedia(shown.node);
  show(id, NOTHING);
}

/** Show this output in place of a live preview, or of another kind of media; without one, what was shown before. */
async function previewEnds(id, output) {
  const shown = noted(id);
  if (!shown) return;
  Object.assign(shown, { isRunning: false, output: output ?? shown.output });
  await null; // The editor may hear of the result after us.
  const isOpen = () => nodeAt(id) === shown.node && !shown.isRunning;
  if (isOpen()) show(id, NOTHING);
  for (let tries = 0; tries < 10 && isOpen() && app.nodePreviewImages[locator(shown.node)]; tries++) {
    await forgetPreview(id);
    await new Promise((resume) => setTimeout(resume, 500));
  }
  if (!isOpen()) return;
  previewed.delete(id);
  path(id).map(nodeAt).forEach(removeMedia);
  show(id, shown.output ?? NOTHING);
}

/** A node's id in the prompt, after those of the subgraphs that it is in: all of them show its preview. */
const path = (id) => id.split(":").map((_, depth, parts) => parts.slice(0, depth + 1).join(":"));

/** The editor forgets previews of nodes that begin to run, half a second later. */
async function forgetPreview(id) {
  const ids = path(id);
  const others = Object.fromEntries(Object.entries(progress.nodes).filter(([other]) => !ids.includes(other)));
  const begun = ids.map((node_id) => [node_id, { state: "running", value: 0, max: 1, node_id, display_node_id: node_id }]);
  for (const nodes of [others, { ...others, ...Object.fromEntries(begun) }, null]) {
    send("progress_state", { ...progress, nodes: nodes ?? progress.nodes });
    await new Promise(requestAnimationFrame);
  }
}

/** The newest answer of this node: of a run of this workflow, or of one where the node had the same values. */
function latestAnswer(runs, node) {
  const { id, type, widgets_values } = node.serialize();
  const values = JSON.stringify(widgets_values);
  for (const [, { prompt, outputs }] of runs) {
    const workflow = prompt[3]?.extra_pnginfo?.workflow;
    const then = workflow?.nodes?.find((old) => old.id === id && old.type === type);
    if (!then || !outputs[id]?.images) continue;
    const sameWorkflow = workflow.id === app.graph.id && workflow.id !== NO_ID;
    if (sameWorkflow || JSON.stringify(then.widgets_values) === values) return outputs[id];
  }
}

async function showEarlierResults() {
  const isEmpty = ({ id, type }) => type.startsWith("Xalora") && !app.nodeOutputs[id]?.images?.length;
  const nodes = app.graph.nodes.filter(isEmpty);
  if (!nodes.length) return;
  const reply = await app.api.fetchApi(`/history?max_items=${RUNS_TO_LOOK_AT}`);
  const runs = Object.entries(await reply.json()).reverse();
  for (const node of nodes) {
    const answer = latestAnswer(runs, node);
    const shown = previewed.get(String(node.id));
    if (shown) shown.output ??= answer;
    else if (answer) show(String(node.id), answer);
  }
}

app.registerExtension({
  name: "Xalora.Previews",
  afterConfigureGraph: () => showEarlierResults().catch((error) => console.warn("Xalora: no earlier results", error)),
  // The newest editor keeps the previews of a workflow that is not open, even when its run is over.
  afterLoadGraph() {
    const ids = app.graph.nodes.map(({ id }) => String(id));
    ids.filter((id) => app.nodePreviewImages[id] && !progress.nodes[id]).forEach((id) => previewEnds(id));
  },
  setup() {
    const on = (event, listen) => app.api.addEventListener(event, ({ detail }) => isOurs || listen(detail));
    on("progress_state", (detail) => (progress = detail));
    on("b_preview_with_metadata", ({ displayNodeId }) => previewBegins(displayNodeId));
    on("executed", ({ node, display_node, output }) => previewEnds(display_node ?? node, output));
    for (const event of ["execution_success", "execution_error", "execution_interrupted"]) {
      on(event, () => {
        progress = { ...progress, nodes: {} };
        previewed.forEach(({ isRunning }, id) => isRunning && previewEnds(id));
      });
    }
  },
});
