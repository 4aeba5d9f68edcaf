/** Settings → Xalora. Nothing of it is kept in ComfyUI's settings: each row shows and changes the pack's own. */

import { button, element } from "./elements.js";
import { openKeyDialog } from "./key_dialog.js";
import { keyStatus, onSettings, readSettings, sourceName } from "./settings_state.js";
import { send } from "./server.js";
import { t } from "./texts.js";

/** The rows of Settings → Xalora, the last one first: the editor shows the newest on top. */
export const settings = [
  row("Xalora.Folder", "Folder in use", showFolder),
  row("Xalora.Test", "Connection", showTest),
  row("Xalora.Server", "Server", showServer),
  row("Xalora.Key", "Key", showKey),
];

function row(id, name, show) {
  return { id, name, category: ["Xalora", "Xalora", id.split(".")[1]], type: () => live(show), defaultValue: null };
}

/** An element that shows the settings in force, now and after each change. */
function live(show) {
  const place = element("div.xalora.xalora-setting");
  const update = (values) => place.replaceChildren(...[show(values)].flat());
  const stop = onSettings((values) => (place.isConnected ? update(values) : stop()));
  readSettings().then(update, (error) => place.replaceChildren(error.message || t("offline")));
  return place;
}

function showKey(values) {
  const status = element("span", {}, keyStatus(values));
  if (!values.key.editable) return status;
  return [status, button(t(values.key.set ? "keyChange" : "keySet"), () => openKeyDialog())];
}

function showServer(values) {
  const { kind, url, editable } = values.server;
  const name = { network: t("serverNetwork"), own: url, sandbox: t("serverSandbox") }[kind];
  const status = element("span", {}, name);
  if (!editable) return element("span", {}, `${name} (${sourceName(values.server.source)})`);
  return [status, button(t("change"), () => openKeyDialog())];
}

function showTest() {
  const answer = element("span.xalora-answer", { role: "status" });
  const test = button(t("testConnection"), async () => {
    answer.textContent = t("testing");
    try {
      const { ok, text, advice } = await send("/test");
      answer.textContent = `${text} ${advice}`.trim();
      answer.dataset.ok = ok;
    } catch (error) {
      answer.textContent = error.message || t("offline");
      answer.dataset.ok = false;
    }
  });
  return [answer, test];
}

function showFolder(values) {
  const { folder, source } = values.home;
  return element("span.xalora-path", {}, source === "default" ? folder : t("folderFrom", { folder, source: sourceName(source) }));
}
