/** At the start: what became of tasks that an earlier session left. */

import { notify } from "./notices.js";
import { ask, send } from "./server.js";
import { openTab } from "./sidebar.js";
import { store } from "./task_store.js";
import { many, t } from "./texts.js";

const SECONDS = 20;

/** Ask about tasks that were open, and say once what became of them. */
export async function tellOfEarlierTasks() {
  const { tasks: before } = await ask("/tasks?state=open");
  // Also shows the badge, and lets the server push what changes.
  await store.load();
  const open = before.filter(({ task_id: id }) => id);
  if (!open.length) return;
  const { problem } = await send("/refresh");
  const numbers = new Set(open.map(({ number }) => number));
  const { tasks: after } = await ask("/tasks?limit=1000");
  const now = after.filter(({ number }) => numbers.has(number));
  const running = now.filter(({ final }) => !final).length;
  const finished = now.filter(({ state }) => state === "finished").length;
  const said = [
    running ? many("earlierRunning", running) : "",
    finished ? many("earlierFinished", finished) : "",
    problem ? t("earlierProblem", { problem }) : "",
  ].filter(Boolean);
  if (said.length) notify({ text: said.join(" "), buttons: [[t("openTasks"), openTab]], seconds: SECONDS });
}
