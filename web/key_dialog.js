/** The dialog for key and server. The key goes to the server and is kept nowhere in the page. */

import { testConnection } from "./connection.js";
import { button, choice, element, labeled, openDialog } from "./elements.js";
import { notify } from "./notices.js";
import { keyStatus, readSettings, sourceName, storeSettings } from "./settings_state.js";
import { t } from "./texts.js";

/**
 * Ask for a server and the key for it; both are stored together, and then tested.
 * @param {(answer: string) => unknown} [done] called once the server can be used, when the dialog is closed; without it,
 *   the dialog stays and shows the answer
 */
export async function openKeyDialog(done) {
  let settings = await readSettings().catch((error) => {
    notify({ text: error.message || t("offline"), kind: "error" });
  });
  if (!settings) return;
  let { key, server } = settings;
  const problem = element("p.xalora-problem", { role: "alert" });
  const answer = element("div.xalora-answer", { role: "status" });

  const ownUrls = settings.servers.filter(({ kind }) => kind === "own").map(({ url }) => url);
  const addresses = element("datalist", { id: "xalora-addresses" }, ...ownUrls.map((value) => element("option", { value })));
  const own = element("input.xalora-input", {
    // Not "url": the scheme may be left out.
    type: "text",
    inputMode: "url",
    autocapitalize: "off",
    placeholder: "192.168.1.20",
    value: server.kind === "own" ? server.url : (ownUrls.at(-1) ?? ""),
    disabled: !server.editable,
    spellcheck: false,
  });
  own.setAttribute("list", addresses.id);
  const ownField = labeled(t("serverAddress"), own);
  ownField.append(addresses);
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
  const serverHint = element("p.xalora-hint", {}, server.editable ? "" : fixed("serverFixed", server));

  const isOwn = () => kind.value === "own";
  const sameServer = () => kind.value === server.kind && (!isOwn() || own.value.trim() === server.url);
  /** Whose key is stored for the server that is chosen. */
  const known = () =>
    settings.servers.find((each) => each.kind === kind.value && (!isOwn() || each.url === own.value.trim()))?.consumer;

  function update() {
    ownField.hidden = !isOwn();
    keyField.hidden = kind.value === "sandbox";
    // Both are about the key in force.
    status.hidden = !sameServer();
    remove.hidden = status.hidden || keyField.hidden || !key.set || key.source !== "stored";
    if (!key.editable) keyHint.textContent = fixed("keyFixed", key);
    else keyHint.textContent = known() ? t("keyKept", { consumer: known() }) : t(isOwn() ? "keyHintOwn" : "keyHint");
  }

  function refuse(text, field) {
    problem.textContent = text;
    field.focus();
  }

  async function save() {
    problem.textContent = "";
    answer.replaceChildren();
    const changes = {};
    const typed = kind.value !== "sandbox" && key.editable && secret.value.trim();
    if (server.editable && isOwn() && !own.value.trim()) return refuse(t("addressMissing"), own);
    if (kind.value === "network" && key.editable && !typed && !known()) return refuse(t("keyMissing"), secret);
    if (server.editable && !sameServer()) changes.workflow_url = { network: "", own: own.value.trim(), sandbox: "sandbox" }[kind.value];
    if (typed) changes.api_key = typed;
    const changed = Object.keys(changes).length > 0;
    if (changed) {
      try {
        settings = await storeSettings(changes);
      } catch (error) {
        return refuse(error.message || t("offline"), changes.workflow_url ? own : secret);
      }
      ({ key, server } = settings);
      secret.value = "";
      if (server.kind === "own") own.value = server.url;
      status.textContent = keyStatus(settings);
      update();
    }
    const { line, connected, checks } = await testConnection(answer, (problem) => (changed ? t("savedBut", { problem }) : problem));
    if (!dialog.open) return;
    if (!connected) {
      if (checks.some(({ name, status }) => name === "key at the server" && status === "problem")) secret.focus();
    } else if (done) {
      dialog.close();
      await done(line);
    } else {
      close.textContent = t("done");
      close.focus();
    }
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
    answer,
    // Enter in a field submits the form.
    element("input", { type: "submit", hidden: true }),
  );
  const close = button(t("cancel"), () => dialog.close());
  const remove = button(t("keyRemove"), async () => {
    await storeSettings({ api_key: "" }).catch((error) => {
      notify({ text: error.message || t("offline"), kind: "error" });
    });
    dialog.close();
  });
  const dialog = openDialog(t("keyTitle"), [form], [remove, close, store]);
  dialog.addEventListener("close", () => {
    secret.value = "";
  });
  update();
  (kind.value === "sandbox" || !key.editable ? kind : secret).focus();
}

const fixed = (text, setting) => t(text, { source: sourceName(setting.source) });
