/** The dialog for key and server. The key goes to the server and is kept nowhere in the page. */

import { button, choice, element, labeled, openDialog } from "./elements.js";
import { notify } from "./notices.js";
import { keyStatus, readSettings, sourceName, storeSettings } from "./settings_state.js";
import { t } from "./texts.js";

/**
 * Ask for a key and the server it belongs to; both are stored together.
 * @param {() => unknown} [done] called once something was stored
 */
export async function openKeyDialog(done = () => notify({ text: t("keySaved"), seconds: 8 })) {
  let settings = await readSettings().catch((error) => {
    notify({ text: error.message || t("offline"), kind: "error" });
  });
  if (!settings) return;
  let { key, server } = settings;
  let stored = false;
  const problem = element("p.xalora-problem", { role: "alert" });

  const own = element("input.xalora-input", {
    type: "url",
    placeholder: "http://192.168.1.20:8787",
    value: server.kind === "own" ? server.url : "",
    disabled: !server.editable,
    spellcheck: false,
  });
  const ownField = labeled(t("serverAddress"), own);
  const secret = element("input.xalora-input", {
    // Not "password": browsers would offer to keep it. The style hides what is typed.
    type: "text",
    autocomplete: "off",
    spellcheck: false,
    disabled: !key.editable,
  });
  secret.classList.add("xalora-secret");
  const keyHint = element("p.xalora-hint");
  const keyField = labeled(t("keyLabel"), secret, keyHint);
  const kinds = [
    ["network", t("serverNetwork")],
    ["own", t("serverOwn")],
    ["sandbox", t("serverSandbox")],
  ];
  const kind = choice(kinds, server.kind, update);
  kind.disabled = !server.editable;
  const serverHint = element("p.xalora-hint");

  function sameServer() {
    return kind.value === server.kind && (kind.value !== "own" || own.value.trim() === server.url);
  }

  function update() {
    if (!server.editable) serverHint.textContent = fixed("serverFixed", server);
    else serverHint.textContent = keyStays(settings, kind.value, own.value) ? "" : keyGoes(settings);
    ownField.hidden = kind.value !== "own";
    keyField.hidden = kind.value === "sandbox";
    if (!key.editable) keyHint.textContent = fixed("keyFixed", key);
    else if (key.set && keyStays(settings, kind.value, own.value)) keyHint.textContent = t("keyKept", { consumer: key.consumer });
    else keyHint.textContent = t("keyHint");
  }

  async function save() {
    const changes = {};
    const typed = secret.value.trim();
    if (server.editable && !sameServer())
      changes.workflow_url = { network: "", own: own.value.trim(), sandbox: "sandbox" }[kind.value];
    if (kind.value !== "sandbox" && key.editable && typed) changes.api_key = typed;
    if (kind.value !== "sandbox" && !typed && key.editable && !(key.set && keyStays(settings, kind.value, own.value))) {
      problem.textContent = t("keyMissing");
      secret.focus();
      return;
    }
    try {
      if (Object.keys(changes).length) {
        settings = await storeSettings(changes);
        ({ key, server } = settings);
        stored = true;
        secret.value = "";
        status.textContent = keyStatus(settings);
        update();
      }
      if (settings.problem) throw new Error(settings.problem);
    } catch (error) {
      problem.textContent = error.message || t("offline");
      return;
    }
    dialog.close();
    if (stored) await done();
  }

  own.addEventListener("input", update);
  const status = element("p.xalora-hint", {}, keyStatus(settings));
  const store = button(t("save"), save, { primary: true });
  const form = element(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        // By the button, which does nothing while it is storing.
        store.click();
      },
    },
    status,
    labeled(t("serverLabel"), kind, serverHint),
    ownField,
    keyField,
    problem,
    // Enter in a field submits the form.
    element("input", { type: "submit", hidden: true }),
  );
  const buttons = [button(t("cancel"), () => dialog.close()), store];
  if (key.set && key.source === "stored") {
    const remove = button(t("keyRemove"), async () => {
      await storeSettings({ api_key: "" }).catch((error) => {
        notify({ text: error.message || t("offline"), kind: "error" });
      });
      dialog.close();
    });
    buttons.unshift(remove);
  }
  const dialog = openDialog(t("keyTitle"), [form], buttons);
  dialog.addEventListener("close", () => {
    secret.value = "";
  });
  update();
  (kind.value === "sandbox" || !key.editable ? kind : secret).focus();
}

/** Whether the stored key, if there is one, is still there when the server has become this one. */
export function keyStays({ key, server }, kind, url) {
  if (!key.set || key.source !== "stored") return true;
  const shared = ["network", "sandbox"];
  return kind === "own" ? server.kind === "own" && url.trim() === server.url : shared.includes(kind) && shared.includes(server.kind);
}

/** The text that says that the stored key will be removed. */
export const keyGoes = ({ key, server }) => t("keyGoes", { consumer: key.consumer, server: server.kind === "own" ? server.url : t("serverNetwork") });

const fixed = (text, setting) => t(text, { source: sourceName(setting.source) });
