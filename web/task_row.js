/** One row of the list of tasks. */

import { element } from "./elements.js";
import { thumbnailOf } from "./server.js";
import { tasksOf } from "./task_batches.js";
import { store } from "./task_store.js";
import { status, subject, when } from "./task_words.js";
import { t } from "./texts.js";

/** An empty row: `show` fills it with a task, `load` adds its picture, also `again` where it was missing. */
export function newRow() {
  const picture = element("img.xalora-thumbnail", { alt: "", hidden: true });
  const title = element("span.xalora-title");
  const state = element("span.xalora-state");
  const kind = element("span.xalora-kind");
  const row = element(
    "div.xalora-row",
    {},
    element("span.xalora-picture", { "aria-hidden": "true" }, picture),
    element("span.xalora-words", {}, title, state, kind),
  );
  picture.addEventListener("error", () => {
    picture.hidden = true;
  });
  let loaded = null;
  row.show = (task) => {
    row.task = task;
    write(title, subject(task));
    const done = task.batch?.filter((each) => each.state === "finished").length;
    const count = task.batch ? ` · ${t("count", { shown: done, total: task.batch.length })}` : "";
    write(state, `${status(task, store.now())}${count}`);
    row.title = subject(task);
    write(kind, `${task.kind} · ${when(task)}`);
    row.dataset.state = task.state;
    if (task.media !== loaded) picture.hidden = true;
  };
  row.load = (again = false) => {
    const { media } = row.task;
    if (!media || (media === loaded && !again)) return;
    loaded = media;
    picture.src = thumbnailOf(tasksOf(row.task).find((task) => task.media === media));
    picture.hidden = false;
  };
  return row;
}

function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
