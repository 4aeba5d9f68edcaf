/** The line in a node that says how its task is: in the user's language, and wherever the node can be seen. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { lineOf } from "./texts.js";

/** The last line of each node, by its workflow and id. In a subgraph, the id is a path such as "12:3". */
const lines = new Map();
let isShowing = false;
let isNewView = false;

/** Show the lines from now on. The editor itself shows each in English, loses some, and has none for a subgraph. */
export function showStatus() {
  api.addEventListener("xalora.status", ({ detail }) => lines.set(`${detail.workflow} ${detail.node}`, detail));
  const ends = ["execution_success", "execution_error", "execution_interrupted"];
  for (const name of ["progress_text", ...ends]) api.addEventListener(name, showSoon);
  app.canvas.canvas.addEventListener("litegraph:set-graph", showSoon);
}

/** Show them before the next picture, after the editor has done with the event. */
export function showSoon(event) {
  isNewView ||= event?.type === "litegraph:set-graph";
  if (!isShowing) queueMicrotask(show);
}

function show() {
  const shown = new Map();
  for (const { workflow, node, parts } of lines.values()) {
    const path = workflow === app.graph.id ? nodesOf(String(node)) : [];
    const inView = path.find((each) => each?.graph === app.canvas.graph);
    if (!inView || !path.at(-1)?.type.startsWith("Xalora")) continue;
    shown.set(inView, [...(shown.get(inView) ?? []), [path.at(-1).title, lineOf(parts)]]);
  }
  isShowing = true;
  for (const [node, told] of shown) {
    const text = told.map(([title, line]) => (told.length > 1 ? `${title}: ${line}` : line)).join("\n");
    const widget = node.widgets?.find(({ name }) => name === "$$node-text-preview");
    // A new one is made: older editors show none that was there before a visit to a subgraph. Newer ones keep some.
    if (widget && isNewView) node.widgets.splice(node.widgets.indexOf(widget), 1);
    else if (widget?.value === text) continue;
    if (widget && !node.widgets.includes(widget)) widget.onRemove?.();
    api.dispatchCustomEvent("progress_text", { nodeId: String(node.id), text });
  }
  isShowing = isNewView = false;
}

/** The node with this id, after the subgraphs' nodes that it is in. */
function nodesOf(id) {
  let graph = app.graph;
  return id.split(":").map((step) => {
    const node = graph?.getNodeById(step);
    graph = node?.subgraph;
    return node;
  });
}
