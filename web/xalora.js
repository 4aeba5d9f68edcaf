/** What Xalora adds to the editor. Without it the nodes work as well. */

import { app } from "../../scripts/app.js";
import { addChoices } from "./choices.js";
import { addStyles } from "./elements.js";
import { watchErrors } from "./errors.js";
import { openKeyDialog } from "./key_dialog.js";
import { shape, unfold } from "./node_shape.js";
import { keepSeed, offerNewSeeds } from "./seeds.js";
import { settings } from "./settings.js";
import { registerTab } from "./sidebar.js";
import { tellOfEarlierTasks } from "./startup.js";
import { showSoon, showStatus } from "./status.js";
import { loadTexts } from "./texts.js";

/** The pack in ComfyUI's registry. A workflow that has it says which pack and version it needs. */
const PACK = { cnr_id: "xalora-nodes", ver: "0.1.0" };

watchErrors();

app.registerExtension({
  name: "Xalora",
  settings,
  commands: [{ id: "Xalora.SetKey", label: "Xalora: set key and server", function: () => openKeyDialog() }],
  async setup() {
    addStyles();
    await loadTexts().catch(() => {});
    registerTab();
    offerNewSeeds();
    showStatus();
    // The editor does not wait for this; and when it fails, the tab says why.
    tellOfEarlierTasks().catch(() => {});
  },
  afterConfigureGraph: showSoon,
  nodeCreated(node) {
    if (node.comfyClass?.startsWith("Xalora")) Object.assign(node.properties, PACK);
    keepSeed(node);
    shape(node);
    addChoices(node);
  },
  loadedGraphNode: unfold,
});
