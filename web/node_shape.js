/** The shape of our nodes: a prompt box of five lines that stays as it is, and rare inputs folded away. */

import { app } from "../../scripts/app.js";

const WIDTH = 360;
const LINES = 5;
const ROW = 24;

/** For a node that was just made. A saved workflow's size comes after this, and stays. */
export function shape(node) {
  if (!node.comfyClass?.startsWith("Xalora")) return;
  for (const widget of node.widgets ?? []) {
    if (widget.options?.advanced) fold(node, widget);
    if (widget.element?.tagName === "TEXTAREA") steady(widget);
  }
  const [width, height] = node.computeSize();
  node.setSize([Math.max(WIDTH, width), height]);
}

/** Do not hide in a saved node that it submits only, or pays again. */
export function unfold(node) {
  if (node.widgets?.some(({ folds, value }) => folds && value === false)) node.showAdvanced = true;
}

/** Fold an input as Nodes 2.0 does: in the classic canvas, "Show Advanced" is in the node's menu. */
function fold(node, widget) {
  const computeSize = (width) => (node.showAdvanced ? [width, ROW - 4] : [0, -4]);
  Object.assign(widget, { advanced: true, folds: true, computeSize });
}

/** In Nodes 2.0, options are attributes of the text box. */
function steady({ options }) {
  const height = () => LINES * 1.25 * (app.extensionManager.setting.get("Comfy.TextareaWidget.FontSize") ?? 10) + 24;
  Object.assign(options, { getMinHeight: height, getMaxHeight: height, rows: LINES });
}

/** Add or remove a row below: what is above keeps its size. In Nodes 2.0 the page sees to that. */
export function changeRow(node, change) {
  const [width, height] = node.size;
  const rows = node.widgets.length;
  change();
  if (!LiteGraph.vueNodesMode) node.setSize([width, height + ROW * (node.widgets.length - rows)]);
  app.graph.setDirtyCanvas(true, true);
}
