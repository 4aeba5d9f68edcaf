/** Which tasks a list shows: by state, and by words that all must appear. */

import { kindName } from "./task_words.js";

const STATES = {
  all: () => true,
  open: (task) => !task.final,
  finished: (task) => task.state === "finished",
  failed: (task) => task.final && task.state !== "finished",
};

const texts = new WeakMap();

/** The tasks of a list that meet the filter. */
export function filtered(tasks, text, state) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = STATES[state];
  return tasks.filter((task) => fits(task) && (!words.length || words.every((word) => searched(task).includes(word))));
}

function searched(task) {
  let text = texts.get(task);
  if (text === undefined) {
    const parts = [task.prompt, kindName(task), task.task_type, task.workflow_id, task.task_id, task.job_id, task.message];
    text = parts.filter(Boolean).join("\n").toLowerCase();
    texts.set(task, text);
  }
  return text;
}
