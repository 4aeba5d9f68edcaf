/** Parts of the page: elements, buttons, dialogs. Texts are set as text, never as HTML. */

import { t } from "./texts.js";

/**
 * An element with properties, attributes ("aria-…", "role", …), listeners ("onclick", …) and children.
 * @param {string} tag with classes, such as "p.xalora-hint"
 */
export function element(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A button. While its action runs, pressing it again does nothing. It keeps the focus. */
export function button(text, action, { primary = false, danger = false } = {}) {
  const style = primary ? ".xalora-primary" : danger ? ".xalora-danger" : "";
  const made = element(`button.xalora-button${style}`, { type: "button" }, text);
  made.addEventListener("click", async () => {
    if (made.ariaBusy === "true") return;
    made.ariaBusy = "true";
    try {
      await action();
    } finally {
      made.ariaBusy = "false";
    }
  });
  return made;
}

/** A button and the menu of others that it opens. */
export function menu(text, buttons) {
  for (const each of buttons) each.setAttribute("role", "menuitem");
  const items = element("div.xalora.xalora-menu", { popover: "auto", role: "menu", onclick: () => items.hidePopover() }, ...buttons);
  const opener = button(text, () => {
    const { left, top } = opener.getBoundingClientRect();
    Object.assign(items.style, { left: `${left}px`, bottom: `${innerHeight - top + 4}px` });
    items.showPopover();
  });
  opener.setAttribute("aria-haspopup", "menu");
  opener.dataset.action = "menu";
  return [opener, items];
}

let ids = 0;

/** A label and its field, below each other. */
export function labeled(text, field, hint = null) {
  field.id ||= `xalora-field-${++ids}`;
  if (hint) {
    hint.id ||= `xalora-hint-${++ids}`;
    field.setAttribute("aria-describedby", hint.id);
  }
  return element("div.xalora-field", {}, element("label", { htmlFor: field.id }, text), field, hint);
}

/** A choice of [value, text]. */
export function choice(options, value, onchange) {
  const made = element("select.xalora-input", { onchange: () => onchange?.(made.value) });
  for (const [value, text] of options) made.append(element("option", { value }, text));
  made.value = value;
  return made;
}

/** Tells its listeners ("change") when a dialog was opened or closed. */
export const dialogs = new EventTarget();

/** The dialog on top, null when none is open. Nothing outside of it can be used. */
export const topDialog = () => [...document.querySelectorAll("dialog.xalora-dialog[open]")].at(-1) ?? null;

/**
 * A dialog over the editor, which keeps the focus until it is closed. Returns it, opened.
 * @param {string} title
 * @param {(Node | string)[]} content
 * @param {HTMLElement[]} buttons
 */
export function openDialog(title, content, buttons = []) {
  const heading = element("h2", { id: `xalora-title-${++ids}` }, title);
  const close = button("✕", () => made.close());
  close.setAttribute("aria-label", t("close"));
  close.classList.add("xalora-close");
  const made = element(
    "dialog.xalora.xalora-dialog",
    { "aria-labelledby": heading.id },
    element("header", {}, heading, close),
    element("div.xalora-body", {}, ...content),
    buttons.length ? element("footer", {}, ...buttons) : null,
  );
  made.addEventListener("close", () => {
    made.remove();
    dialogs.dispatchEvent(new Event("change"));
  });
  // The editor's shortcuts are not meant for what is typed here.
  for (const event of ["keydown", "keyup", "keypress", "paste", "copy"])
    made.addEventListener(event, (pressed) => pressed.stopPropagation());
  // Newer editors close their dialog when something outside of it is used; older ones let nothing in.
  const open = [...document.querySelectorAll("[role=dialog]:not(.p-dialog)")].filter((dialog) => dialog.checkVisibility());
  (open.at(-1) ?? document.body).append(made);
  made.showModal();
  dialogs.dispatchEvent(new Event("change"));
  return made;
}

/** Load the style sheet. */
export function addStyles() {
  const href = new URL("./xalora.css", import.meta.url).href;
  document.head.append(element("link", { rel: "stylesheet", href }));
}
