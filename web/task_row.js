/** One row of the list of tasks. */

import { element } from "./elements.js";
import { thumbnailOf } from "./server.js";
import { store } from "./task_store.js";
import { kindName, status, subject, when } from "./task_words.js";

/** An empty row, which shows one task after another while the list is scrolled. */
export function newRow() {
  const picture = element("img.xalora-thumbnail", { alt: "", hidden: true });
  const title = element("span.xalora-title");
  const state = element("span.xalora-state");
  const kind = element("span.xalora-kind");
  const row = element(
    "div.xalora-row",
    {},
    element("span.xalora-picture", { "aria-hidden": "true" }, picture),
    element("span.xalora-words", {}, title, element("span.xalora-line", {}, state, kind)),
  );
  let failed = null;
  picture.addEventListener("error", () => {
    // It may be there when the task has changed: once it is collected.
    failed = row.task;
    picture.hidden = true;
    picture.removeAttribute("src");
  });
  row.show = (task) => {
    write(title, subject(task));
    write(state, status(task, store.now(), store.doubt(task)));
    write(kind, `${kindName(task)} · ${when(task)}`);
    row.dataset.state = task.state;
    row.task = task;
    if (row.media !== task.media) {
      row.media = task.media;
      picture.hidden = true;
      picture.removeAttribute("src");
    }
  };
  row.rest = (task) => {
    if (!task.media || task === failed || picture.hasAttribute("src")) return;
    picture.src = thumbnailOf(task);
    picture.hidden = false;
  };
  return row;
}

function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
