/** At the start: what became of tasks that an earlier session left. */

import { notify } from "./notices.js";
import { openTab } from "./sidebar.js";
import { store } from "./task_store.js";
import { many, t } from "./texts.js";

const SECONDS = 20;

/** Ask about tasks that were open, and say once what became of them. */
export async function tellOfEarlierTasks() {
  // Also shows the badge, and lets the server push what changes.
  await store.update();
  const finished = await store.refresh();
  if (store.error) return;
  const { earlier, problem } = store;
  const messages = [
    earlier ? many("earlierRunning", earlier) : "",
    finished ? many("earlierFinished", finished) : "",
    problem ? t("earlierProblem", { problem }) : "",
  ].filter(Boolean);
  if (!messages.length) return;
  const told = notify({ text: messages.join(" "), buttons: [[t("openTasks"), openTab]], seconds: SECONDS });
  // That they run is no longer true once one of them has ended.
  if (earlier && messages.length === 1) store.addEventListener("change", () => store.earlier < earlier && told.remove());
}
