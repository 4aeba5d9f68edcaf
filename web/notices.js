/** Messages where the editor has its own, which have no buttons: at most two, each as long as what it says holds. */

import { app } from "../../scripts/app.js";
import { button, dialogs, element, topDialog } from "./elements.js";
import { t } from "./texts.js";

const MOST = 2;

let container = null;
/** What each message is about. */
const topics = new WeakMap();
/** What had the focus before a message got it. */
let lastFocus = null;

/**
 * Show a message. A press of one of its buttons closes it.
 * @param {{title?: string, text: string, details?: string, kind?: "error" | "info", buttons?: [string, () => unknown][],
 *   seconds?: number, about?: string[], below?: boolean}} message
 *   `details` are folded; `seconds` until it closes by itself, but not under the pointer or with the focus, 0: it stays
 *   until it is closed; `about`: what `dismiss` closes it by; `below`: a dialog of the editor may cover it
 */
export function notify({ title = t("title"), text, details, kind = "info", buttons = [], seconds = 0, about = [], below }) {
  const close = button("✕", () => remove(made));
  close.setAttribute("aria-label", t("close"));
  close.classList.add("xalora-close");
  const made = element(
    `section.xalora.xalora-notice.xalora-${kind}`,
    { role: kind === "error" ? "alert" : "status" },
    element("header", {}, element("strong", {}, title), close),
    element("p", {}, text),
    details ? element("details", {}, element("summary", {}, t("details")), element("p", {}, details)) : null,
  );
  topics.set(made, about);
  const actions = buttons.map(([name, action], number) =>
    button(
      name,
      async () => {
        remove(made);
        await action();
      },
      { primary: number === 0 },
    ),
  );
  if (actions.length) made.append(element("footer", {}, ...actions));
  mount();
  // It replaces the same message.
  for (const notice of container.children) if (notice.textContent === made.textContent) notice.remove();
  container.append(made);
  if (container.children.length > MOST) remove(container.firstElementChild);
  raise(!below);
  if (seconds) leave(made, seconds);
  return made;
}

/** Close the messages about this: what they say does not hold any more. */
export function dismiss(topic) {
  for (const notice of [...(container?.children ?? [])]) if (topics.get(notice).includes(topic)) remove(notice);
}

/** Put the messages where they can be used: where the editor has its own, below what it says itself of an error. */
function mount() {
  if (!container) {
    container = element("div.xalora.xalora-notices");
    container.addEventListener("focusin", ({ relatedTarget: from }) => {
      if (!container.contains(from)) lastFocus = from;
    });
    dialogs.addEventListener("change", () => {
      mount();
      raise();
    });
  }
  const around = topDialog() ?? document.body;
  if (container.parentNode !== around) around.append(container);
  const { top, right } = (app.canvasContainer ?? app.canvasEl).getBoundingClientRect();
  container.style.top = `${top + (app.lastExecutionError ? 244 : 100)}px`;
  container.style.right = `${innerWidth - right + 8}px`;
}

/** Bring the messages above dialogs that were opened since, or only above the canvas. */
function raise(above = true) {
  container.popover = null;
  if (!above || !container.showPopover) return;
  container.popover = "manual";
  container.showPopover();
}

/** Remove a message; the focus goes back to where it was before. */
function remove(made) {
  const focused = made.contains(document.activeElement);
  made.remove();
  if (focused && lastFocus?.isConnected) lastFocus.focus();
}

function leave(made, seconds) {
  const timer = setInterval(() => {
    if (!made.isConnected) clearInterval(timer);
    else if (!made.matches(":hover, :focus-within") && --seconds < 0) made.remove();
  }, 1000);
}
