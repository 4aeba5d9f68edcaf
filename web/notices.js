/** Messages over the editor, with buttons. The editor's own toasts have none in most versions. */

import { button, dialogs, element, topDialog } from "./elements.js";
import { t } from "./texts.js";

let container = null;
/** What had the focus before a message got it. */
let lastFocus = null;

/**
 * Show a message. A press of one of its buttons closes it.
 * @param {{title?: string, text: string, kind?: "error" | "info", buttons?: [string, () => unknown][], seconds?: number}} message
 *   `seconds` until it closes by itself, but not under the pointer or with the focus. 0: it stays until it is closed
 */
export function notify({ title = t("title"), text, kind = "info", buttons = [], seconds = 0 }) {
  const close = button("✕", () => remove(made));
  close.setAttribute("aria-label", t("close"));
  close.classList.add("xalora-close");
  const made = element(
    `section.xalora.xalora-notice.xalora-${kind}`,
    { role: kind === "error" ? "alert" : "status" },
    element("header", {}, element("strong", {}, title), close),
    element("p", {}, text),
  );
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
  raise();
  if (seconds) leave(made, seconds);
  return made;
}

/** Put the messages where they can be used. */
function mount() {
  if (!container) {
    container = element("div.xalora.xalora-notices", { popover: "manual" });
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
}

/** Bring the messages above dialogs that were opened since. */
function raise() {
  if (!container.showPopover) return;
  if (container.matches(":popover-open")) container.hidePopover();
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
