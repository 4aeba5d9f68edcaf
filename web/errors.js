/** An error of one of our nodes as a message with buttons for what helps. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { openHelp } from "./help.js";
import { openKeyDialog } from "./key_dialog.js";
import { dismiss, notify } from "./notices.js";
import { ask, ofTask } from "./server.js";
import { onSettings, storeSettings } from "./settings_state.js";
import { attempt, collectTask, nodeAt } from "./task_actions.js";
import { errorWords, t } from "./texts.js";

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
const collect = async ({ task_id }) => (await isListed(task_id)) && [t("collect"), () => collectTask({ task_id })];

/** The buttons for what the pack says would help. */
const REMEDIES = {
  "set-key": [key, sandbox],
  "check-server": [server, again],
  "top-up": [again],
  retry: [again],
  collect: [collect, again],
};

/** What other settings may put right. */
const SETTINGS = ["set-key", "check-server"];

/** The pack's message about the last error of each node, by the node's id. */
const lastErrors = new Map();

/** Show errors of our nodes; others are the editor's own business. Called before the editor itself listens. */
export function watchErrors() {
  api.addEventListener("xalora.error", ({ detail }) => lastErrors.set(String(detail.node), detail));
  api.addEventListener("execution_error", ({ detail }) => showError(detail));
  api.addEventListener("execution_start", () => dismiss("run"));
  api.addEventListener("executed", ({ detail }) => dismiss(`node ${detail.node}`));
  onSettings(() => dismiss("settings"));
}

/** Whether the list has this task. Only its node can collect one that was created on another computer. */
const isListed = async (task_id) => Boolean(task_id) && ask(ofTask({ task_id })).then(() => true, () => false);

async function showError(shown) {
  const { exception_type: type = "", exception_message: message = "", node_type: nodeType, node_id: id } = shown;
  const name = type.match(/^xalora_client\.(\w+)$/)?.[1];
  if (!name) return;
  const error = lastErrors.get(String(id)) ?? { message: message.trim() };
  const node = nodeAt(String(id));
  const { text, details } = errorWords(error, (field) => node?.widgets?.find(({ name }) => name === field)?.label ?? field);
  // The editor says it too: in the user's language.
  if (text !== error.message) shown.exception_message = text;
  const [, kind] = KINDS.find(([pattern]) => pattern.test(name));
  const remedies = REMEDIES[error.remedy] ?? [];
  const buttons = (await Promise.all(remedies.map((offer) => offer(error)))).filter(Boolean);
  buttons.push([t("openHelp"), () => openHelp(nodeType, kind)]);
  notify({
    title: t("failed", { node: node?.title ?? nodeType, kind: t(kind) }),
    text,
    details,
    kind: "error",
    buttons,
    about: ["run", `node ${id}`, `task ${error.task_id}`, ...(SETTINGS.includes(error.remedy) ? ["settings"] : [])],
    below: true,
  });
}

/** Press Run. */
export const run = () => app.extensionManager.command.execute("Comfy.QueuePrompt");

/** Turn the sandbox on, and run. The key of the server before stays stored. */
const trySandbox = () =>
  attempt(async () => {
    await storeSettings({ workflow_url: "sandbox" });
    notify({ text: t("sandboxOn"), seconds: 10 });
    await run();
  });

const offerRun = (answer) => notify({ text: t("keySaved", { answer }), buttons: [[t("run"), run]], seconds: 30, about: ["run"] });
