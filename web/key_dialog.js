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
  const settings = await readSettings().catch((error) => {
    notify({ text: error.message || t("offline"), kind: "error" });
  });
  if (!settings) return;
  const { key, server } = settings;
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
  const serverHint = server.editable ? null : element("p.xalora-hint", {}, fixed("serverFixed", server));

  function sameServer() {
    return kind.value === server.kind && (kind.value !== "own" || own.value.trim() === server.url);
  }

  function update() {
    ownField.hidden = kind.value !== "own";
    keyField.hidden = kind.value === "sandbox";
    if (!key.editable) keyHint.textContent = fixed("keyFixed", key);
    else if (key.set && sameServer()) keyHint.textContent = t("keyKept", { consumer: key.consumer });
    else keyHint.textContent = t("keyHint");
  }

  async function save() {
    const changes = {};
    const typed = secret.value.trim();
    if (server.editable && !sameServer())
      changes.workflow_url = { network: "", own: own.value.trim(), sandbox: "sandbox" }[kind.value];
    if (kind.value !== "sandbox" && key.editable && typed) changes.api_key = typed;
    if (kind.value !== "sandbox" && !typed && key.editable && !(key.set && sameServer())) {
      problem.textContent = t("keyMissing");
      secret.focus();
      return;
    }
    try {
      const now = Object.keys(changes).length ? await storeSettings(changes) : settings;
      if (now.problem) throw new Error(now.problem);
    } catch (error) {
      problem.textContent = error.message || t("offline");
      return;
    }
    dialog.close();
    await done();
  }

  own.addEventListener("input", update);
  const form = element(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        save();
      },
    },
    element("p.xalora-hint", {}, keyStatus(settings)),
    labeled(t("serverLabel"), kind, serverHint),
    ownField,
    keyField,
    problem,
    // Enter in a field stores, as in every form.
    element("input", { type: "submit", hidden: true }),
  );
  const buttons = [button(t("cancel"), () => dialog.close()), button(t("save"), save, { primary: true })];
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

const fixed = (text, setting) => t(text, { source: sourceName(setting.source) });
