/** The pack's routes at ComfyUI's server. */

import { api } from "../../scripts/api.js";
import { errorWords, t } from "./texts.js";

/** What a proxy answers when it cannot reach ComfyUI. */
const UNREACHABLE = [502, 503, 504];

/** What went wrong, in the pack's own words: what happened, and what to do. */
export class RouteError extends Error {
  constructor({ what, message = what, ...error }) {
    const { text, details } = errorWords({ message, ...error });
    super(text);
    this.details = details;
  }
}

/** Raised when ComfyUI itself does not answer. */
export class OfflineError extends Error {}

/** GET a route under /xalora. */
export const ask = (path) => answered(path, {});

/** POST to a route under /xalora. */
export const send = (path, body = {}) =>
  answered(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** The path of a task's route. */
export const ofTask = (task, action = "") => {
  const path = `/tasks/${encodeURIComponent(task.task_id ?? task.job_id)}`;
  return action ? `${path}/${action}` : path;
};

/** The address of a task's small picture. */
export const thumbnailOf = (task) => api.apiURL(`/xalora${ofTask(task, "thumbnail")}?${task.media}`);

/** The address of a file that ComfyUI serves. */
export const addressOf = (view) => api.apiURL(`/view?${new URLSearchParams(view)}`);

async function answered(path, options) {
  let answer;
  try {
    answer = await api.fetchApi(`/xalora${path}`, options);
  } catch {
    throw new OfflineError();
  }
  const payload = await answer.json().catch(() => null);
  if (!answer.ok && payload?.error) throw new RouteError(payload.error);
  if (answer.ok && payload !== null) return payload;
  if (UNREACHABLE.includes(answer.status)) throw new OfflineError();
  // Our routes answer in JSON, so this one is missing, or somebody else answered.
  throw new RouteError({ what: answer.status === 404 ? t("noRoute") : t("notOurs", { status: answer.status }) });
}
