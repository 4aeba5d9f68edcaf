/** The words for a task in the list. */

import { t } from "./texts.js";

/** What the task makes, in a few words. */
export const subject = (task) => task.prompt || task.kind;

/** The name of a task's state. */
export const stateName = ({ state }) => t(`state${state[0].toUpperCase()}${state.slice(1)}`);

/** Seconds as m:ss, or h:mm:ss. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** The state with its time: how long it has been under way and how far it is, or how long its miner took. */
export function status(task, now) {
  const began = task.submitted ?? task.created;
  if (task.doubt) return `${stateName(task)} · ${doubtName(task)}`;
  // Before there is an id, or after a cancel, it is not certain that it runs.
  if (task.state === "waiting" || task.state === "running") return `${stateName(task)} ${duration(now - began)}${more(task, now - began)}`;
  const known = task.state === "finished" && task.inference_latency !== null;
  return `${stateName(task)}${known ? ` · ${t("took", { time: duration(task.inference_latency) })}` : ""}`;
}

/** How far an open task is; where that is not measured, how long such tasks usually take. */
function more({ progress, usual_seconds: usual }, elapsed) {
  if (progress) return ` · ${progress.join(" / ")}`;
  if (!usual) return "";
  return elapsed > usual ? ` · ${t("longer")}` : ` / ${t("about", { time: duration(usual) })}`;
}

/** Why the state of an open task is not known; "" when its server can be asked. */
export const doubtName = ({ doubt }) => doubt && t(doubt === "elsewhere" ? "notAsked" : "notKnown");

/** When a task was made: the time today, else the date. */
export function when(task) {
  const made = new Date(task.created * 1000);
  const today = made.toDateString() === new Date().toDateString();
  return today ? made.toLocaleTimeString([], { timeStyle: "short" }) : made.toLocaleDateString([], { dateStyle: "medium" });
}
