/** An error of one of our nodes as a message with the buttons that remedy it. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { openHelp } from "./help.js";
import { openKeyDialog } from "./key_dialog.js";
import { notify } from "./notices.js";
import { storeSettings } from "./settings_state.js";
import { collectTask } from "./task_actions.js";
import { t } from "./texts.js";

const KINDS = [
  [/^InvalidParameter/, "kindInput"],
  [/^(Configuration|Authentication|PermissionDenied)/, "kindConfiguration"],
  [/^(Network|RequestTimeout)/, "kindNetwork"],
  [/^(Task|TaskTimeout)/, "kindTask"],
  [/^(Media|Download|Decode)/, "kindMedia"],
  [/^Storage/, "kindStorage"],
  [/./, "kindServer"],
];

const key = () => [t("keySet"), () => openKeyDialog(offerRun)];
const server = () => [t("openSettings"), () => openKeyDialog(offerRun)];
const sandbox = () => [t("sandboxTry"), trySandbox];
// With reuse off, another run pays again for what is there already.
const again = ({ reuse }) => reuse !== false && [t("tryAgain"), run];
const collect = ({ task_id }) => task_id && [t("collect"), () => collectTask({ task_id })];

/** The buttons for what the pack says would help. */
const REMEDIES = {
  "set-key": [key, sandbox],
  "check-server": [server, again],
  "top-up": [again],
  retry: [again],
  collect: [collect, again],
};

/** What the pack said of each node's last error. */
const told = new Map();

/** Show errors of our nodes; others are the editor's own business. */
export function watchErrors() {
  api.addEventListener("xalora.error", ({ detail }) => told.set(String(detail.node), detail));
  api.addEventListener("execution_error", ({ detail }) => showError(detail));
}

function showError({ exception_type: type = "", exception_message: message = "", node_type: nodeType, node_id: node }) {
  const name = type.match(/^xalora_client\.(\w+)$/)?.[1];
  if (!name) return;
  const error = told.get(String(node)) ?? {};
  const [, kind] = KINDS.find(([pattern]) => pattern.test(name));
  const remedies = REMEDIES[error.remedy] ?? [];
  const buttons = remedies.map((button) => button(error)).filter(Boolean);
  buttons.push([t("openHelp"), () => openHelp(nodeType)]);
  notify({ title: t("failed", { kind: t(kind) }), text: message.trim(), kind: "error", buttons });
}

/** Press Run. */
export const run = () => app.extensionManager.command.execute("Comfy.QueuePrompt");

async function trySandbox() {
  try {
    await storeSettings({ workflow_url: "sandbox" });
  } catch (error) {
    notify({ text: error.message || t("offline"), kind: "error" });
    return;
  }
  notify({ text: t("sandboxOn"), buttons: [[t("run"), run]], seconds: 30 });
}

const offerRun = () => notify({ text: t("keySaved"), buttons: [[t("run"), run]], seconds: 30 });
