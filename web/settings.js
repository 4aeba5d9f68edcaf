/** Settings → Xalora. Nothing of it is kept in ComfyUI's settings: each row shows and changes the pack's own. */

import { testConnection } from "./connection.js";
import { button, choice, element } from "./elements.js";
import { openKeyDialog } from "./key_dialog.js";
import { notify } from "./notices.js";
import { announce, keyStatus, onSettings, readSettings, sourceName, storeSettings } from "./settings_state.js";
import { t } from "./texts.js";

/** The rows of Settings → Xalora, the last one first: the editor shows the newest on top. */
export const settings = [
  row("Xalora.Folder", "Folder in use", showFolder),
  row("Xalora.MediaBudget", "Space for results", showBudget),
  row("Xalora.ImageDelivery", "How images reach miners", showDelivery),
  row("Xalora.Test", "Connection", showTest),
  row("Xalora.Server", "Server", showServer),
  row("Xalora.Key", "Key", showKey),
];

function row(id, name, show) {
  return { id, name, category: ["Xalora", "Xalora", id.split(".")[1]], type: () => live(show), defaultValue: null };
}

/** An element that shows the settings in force, now and after each change. Where `show` returns nothing, all stays. */
function live(show) {
  const container = element("div.xalora.xalora-setting");
  const update = (values, changes) => {
    const next = show(values, changes);
    if (next) container.replaceChildren(...[next].flat());
  };
  const stop = onSettings((values, changes) => (container.isConnected ? update(values, changes) : stop()));
  readSettings().then((values) => update(values), (error) => container.replaceChildren(error.message || t("offline")));
  return container;
}

function showKey(values) {
  const shared = element("div.xalora-hint", {}, values.key.set ? t("keyShared") : "");
  const status = element("div", {}, element("span", {}, keyStatus(values)), shared);
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

/** The button keeps its place and its answer until another key or server is stored. */
function showTest(values, changes) {
  if (changes && !("api_key" in changes) && !("workflow_url" in changes)) return null;
  const answer = element("div.xalora-answer", { role: "status" });
  return [answer, button(t("testConnection"), () => testConnection(answer))];
}

function showDelivery({ image_delivery: delivery, bucket }) {
  const ways = [
    ["auto", t("delivery_auto")],
    ["bucket", t("delivery_bucket")],
    ["sequencer", t("delivery_sequencer")],
    ["data-uri", t("delivery_inline")],
  ];
  const method = choice(ways, delivery.value, (value) => store({ image_delivery: value }));
  method.setAttribute("aria-label", t("delivery"));
  method.disabled = !delivery.editable;
  const address = element("input.xalora-input", {
    "aria-label": t("bucket"),
    placeholder: "s3://name/prefix",
    value: bucket.value ?? "",
    disabled: !bucket.editable,
    onchange: () => store({ bucket: address.value }),
  });
  return delivery.value === "bucket" || bucket.value ? [method, address] : [method];
}

function showBudget({ media_budget: budget }) {
  const space = element("input.xalora-input.xalora-short", {
    type: "number",
    min: 0,
    step: "any",
    placeholder: "5",
    "aria-label": t("budget"),
    value: budget.gigabytes ?? "",
    // The field of a text that is no number is empty, which would be stored as the default.
    onchange: () => space.reportValidity() && store({ media_budget: space.value }),
  });
  return [space, element("span", {}, t("gigabytes"))];
}

/** Store a setting; when it is refused, say why and show what is in force. */
const store = (changes) =>
  storeSettings(changes).catch(async (error) => {
    notify({ text: error.message || t("offline"), kind: "error" });
    await readSettings().then((values) => announce(values, {}), () => {});
  });

function showFolder(values) {
  const { folder, source } = values.home;
  return element("span.xalora-path", {}, source === "default" ? folder : t("folderFrom", { folder, source: sourceName(source) }));
}
