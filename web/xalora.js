/** What Xalora adds to the editor. Without it the nodes work as well. */

import { app } from "../../scripts/app.js";
import { addStyles } from "./elements.js";
import { watchErrors } from "./errors.js";
import { openKeyDialog } from "./key_dialog.js";
import { keepSeed, offerNewSeeds } from "./seeds.js";
import { settings } from "./settings.js";
import { registerTab } from "./sidebar.js";
import { tellOfEarlierTasks } from "./startup.js";
import { loadTexts } from "./texts.js";

app.registerExtension({
  name: "Xalora",
  settings,
  commands: [{ id: "Xalora.SetKey", label: "Xalora: set key and server", function: () => openKeyDialog() }],
  async setup() {
    addStyles();
    await loadTexts(app.extensionManager.setting.get("Comfy.Locale")).catch(() => {});
    registerTab();
    offerNewSeeds();
    watchErrors();
    // The editor does not wait for this; and when it fails, the tab says why.
    tellOfEarlierTasks().catch(() => {});
  },
  nodeCreated: keepSeed,
});
