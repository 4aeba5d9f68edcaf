/** An error of one of our nodes as a message with the buttons that remedy it. */

import { app } from "../../scripts/app.js";
import { openHelp } from "./help.js";
import { openKeyDialog } from "./key_dialog.js";
import { notify } from "./notices.js";
import { storeSettings } from "./settings_state.js";
import { collectTask } from "./task_actions.js";
import { t } from "./texts.js";

const KINDS = {
  ConfigurationError: ["kindConfiguration", ["settings"]],
  InvalidParameterError: ["kindConfiguration", []],
  AuthenticationError: ["kindConfiguration", ["key"]],
  PermissionDeniedError: ["kindConfiguration", ["key"]],
  PaymentRequiredError: ["kindServer", ["again"]],
  NetworkError: ["kindNetwork", ["again", "settings"]],
  RequestTimeoutError: ["kindNetwork", ["again"]],
  RateLimitError: ["kindServer", ["again"]],
  ServerError: ["kindServer", ["again"]],
  BadRequestError: ["kindServer", []],
  NotFoundError: ["kindServer", []],
  ConflictError: ["kindServer", ["again"]],
  ResponseError: ["kindServer", ["settings"]],
  StorageError: ["kindStorage", ["again"]],
  TaskFailedError: ["kindTask", ["again"]],
  TaskCanceledError: ["kindTask", ["again"]],
  TaskTimeoutError: ["kindTask", ["collect", "again"]],
  DownloadError: ["kindMedia", ["collect", "again"]],
  DecodeError: ["kindMedia", []],
  MediaTooLargeError: ["kindMedia", []],
};

const REMEDIES = {
  key: () => [t("keySet"), () => openKeyDialog(offerRun)],
  sandbox: () => [t("sandboxTry"), trySandbox],
  settings: () => [t("openSettings"), () => openKeyDialog(offerRun)],
  again: () => [t("tryAgain"), run],
  collect: ({ taskId }) => taskId && [t("collect"), () => collectTask({ task_id: taskId })],
};

/** Show an `execution_error` of ours; others are the editor's own business. */
export function showError({ exception_type: type = "", exception_message: message = "", node_type: nodeType }) {
  const name = type.match(/^xalora_client\.(\w+)$/)?.[1];
  if (!name) return;
  const text = message.trim();
  const [kind, remedies] = /^No API key/.test(text) ? ["kindConfiguration", ["key", "sandbox"]] : (KINDS[name] ?? ["kindTask", []]);
  const taskId = text.match(/\(task ([^\s)]+)\)/)?.[1] ?? text.match(/^Task (\S+)/)?.[1];
  const buttons = remedies.map((each) => REMEDIES[each]({ taskId })).filter(Boolean);
  buttons.push([t("openHelp"), () => openHelp(nodeType)]);
  notify({ title: t("failed", { kind: t(kind) }), text, kind: "error", buttons });
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
