/** All texts of the extension. Translations come from locales/<language>/main.json, under "xalora". */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const ENGLISH = {
  title: "Xalora",
  tasks: "Xalora tasks",
  close: "Close",
  cancel: "Cancel",
  save: "Save",
  done: "Done",
  run: "Run",
  tryAgain: "Try again",
  openHelp: "Open help",
  openSettings: "Open settings",
  openTasks: "Open tasks",

  keyTitle: "Xalora key and server",
  keySet: "Set key",
  keyChange: "Change key",
  change: "Change",
  keyLabel: "Key (consumer#key)",
  keyHint: "Copy the whole key from your Xalora account. It is stored on ComfyUI's computer, in a file of its own. Everyone who uses this ComfyUI pays with it.",
  keyKept: "Leave empty to keep the key of {consumer}.",
  keyHintOwn: "Leave empty if the sequencer needs none. It is stored on ComfyUI's computer, for this sequencer alone.",
  keyShared: "Everyone who uses this ComfyUI pays with it.",
  keyNotNeeded: "The sandbox needs no key.",
  keyOf: "Key of consumer {consumer}, from {source}",
  keyNone: "No key is set",
  keyFixed: "The key is set in {source} and cannot be changed here.",
  keyMissing: "Enter a key.",
  keyRemove: "Remove key",
  keySaved: "Saved. {answer}",

  serverLabel: "Server",
  serverNetwork: "Xalora network",
  serverOwn: "My own sequencer",
  serverSandbox: "Sandbox: previews on this computer, free",
  serverAddress: "Address of the sequencer",
  addressMissing: "Enter the address of your sequencer.",
  serverFixed: "The server is set in {source} and cannot be changed here.",
  sourceEnvironment: "the environment",
  sourceDotenv: "the .env file",
  sourceStored: "the stored settings",
  sourceDefault: "the defaults",

  testConnection: "Test connection",
  testing: "Testing…",
  details: "Details",
  savedBut: "Saved, but it does not work yet: {problem}",
  connected: "Connected",
  connectedTo: "Connected: {told}",
  connectedNetwork: "Connected to the Xalora network",
  connectedSandbox: "The sandbox is ready: previews on this computer, free",
  connectedNoMachine: "Connected, but no machine is at work there yet",
  machines: "{count} machines",
  machinesOne: "1 machine",
  workflows: "{count} workflows",
  workflowsOne: "1 workflow",
  delivery: "How images reach miners",
  delivery_auto: "Automatic",
  delivery_bucket: "Through my bucket",
  delivery_sequencer: "Through the sequencer",
  delivery_inline: "Inside the task",
  bucket: "Address of the bucket",
  budget: "Space for results, in gigabytes",
  gigabytes: "GB",
  folderFrom: "{folder} (from {source})",

  sandboxTry: "Try the sandbox",
  sandboxOn: "The sandbox is on. It makes previews on this computer, marked PREVIEW, and charges nothing.",

  failed: "{node} · {kind}",
  details: "Details",
  kindInput: "Input",
  kindConfiguration: "Settings",
  kindNetwork: "Connection",
  kindServer: "The server's answer",
  kindTask: "Task",
  kindMedia: "Result",
  kindStorage: "Disk",

  earlierRunning: "{count} earlier tasks are still running.",
  earlierRunningOne: "1 earlier task is still running.",
  earlierFinished: "{count} earlier tasks have finished. Collect them; they are not charged again.",
  earlierFinishedOne: "1 earlier task has finished. Collect it; it is not charged again.",
  earlierProblem: "Earlier tasks could not be asked about: {problem}",

  newSeed: "New seed and run",
  chooseLora: "choose a LoRA",
  chooseWorkflow: "choose a workflow",
  upscaler: "upscaler",

  filter: "Find by prompt, kind or id",
  filterState: "Show",
  all: "All",
  open: "Running",
  finished: "Finished",
  failedOnes: "Failed or canceled",
  count: "{shown} of {total} tasks",
  loading: "Loading…",
  emptyTitle: "No tasks yet",
  emptyText: "Add a node, write what the video shows, and press Run. Each task is listed here, with its result.",
  emptyAdd: "Add Text to Video",
  noMatch: "No task matches.",
  offline: "ComfyUI does not answer. The list comes back when it does.",
  noRoute: "ComfyUI does not know this request. Restart ComfyUI, then reload this page.",
  notOurs: "Something other than ComfyUI has answered ({status}). Reload this page; you may have to log in again.",

  stateCreating: "being sent",
  stateDoubtful: "not certain",
  stateRefused: "not accepted",
  stateWaiting: "queued",
  stateRunning: "running",
  stateFinished: "finished",
  stateFailed: "failed",
  stateCanceled: "canceled",
  notAsked: "at another server, not asked",
  notKnown: "its server no longer knows it; forget it",
  about: "about {time}",
  longer: "longer than usual",
  took: "took {time}",
  by_node: "from a node",
  by_place: "from node {node}: {title}",
  by_cli: "from the command line",
  by_library: "from a program",

  cancelTask: "Cancel task",
  collect: "Collect",
  collecting: "Collecting…",
  show: "Show",
  more: "More",
  goToNode: "Go to node",
  insertNode: "Insert status node",
  copyId: "Copy id",
  copied: "Copied",
  copyYourself: "The browser does not let this page copy. The id is {id}",
  settings: "Settings of the run",
  forget: "Forget",
  forgetTitle: "Forget this task?",
  forgetText: "It disappears from this list, and the same inputs are paid for again. Its result stays on the disk.",
  forgetOpen: "It continues at the sequencer and is charged. It disappears from this list, and the same inputs are paid for again.",
  notYet: "The task is {state}. There is no result yet.",
  notShown: "The task is finished and its result is stored. It cannot be shown, because ComfyUI's temporary folder cannot be written.",
  canceledNow: "The task is {state}.",
  result: "Result of the task",
};

let translated = {};
/** The texts for the codes of the pack's errors; empty in English, which comes with each error. */
let errors = {};

/** The editor's language. An editor that lacks the browser's own shows English: then our texts are in the browser's. */
function languageOf({ settings, get }) {
  const chosen = get("Comfy.Locale") || "en";
  const [own] = navigator.language.split("-");
  const offered = settings?.["Comfy.Locale"]?.options?.map(({ value }) => value) ?? [own];
  return chosen !== "en" || offered.includes(own) ? chosen : own;
}

/** Load the translations into the user's language. Without them, the texts are English. */
export async function loadTexts() {
  const language = languageOf(app.extensionManager.setting);
  if (language === "en") return;
  const answer = await api.fetchApi("/i18n");
  if (answer.ok) ({ xalora: translated = {}, xaloraErrors: errors = {} } = (await answer.json())[language] ?? {});
}

/**
 * A text in the user's language.
 * @param {string} key
 * @param {Record<string, string | number>} [values] what {name} in the text stands for
 */
export function t(key, values = {}) {
  return fill(translated[key] ?? ENGLISH[key] ?? key, values);
}

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));

/** A line of parts that the server sent, each with its code, values and English text. */
export const lineOf = (parts) => parts.map(partOf).join(" · ");

function partOf(part) {
  const words = translated.status?.[part.code];
  if (words && part.code === "error") return errorWords(part.values.error).text.replace(/[.。]$/, "");
  if (!words) return part.text ?? part;
  return fill(words, Object.fromEntries(Object.entries(part.values).map(([name, value]) => [name, partOf(value)])));
}

/**
 * An error of the pack in the user's language: its text, and the details that an expert asks for.
 * @param {object} error as the pack sends it
 * @param {(field: string) => string} [label] what the node calls a field
 */
export function errorWords({ code, params = {}, message, details, untranslated }, label = (field) => field) {
  if (!errors[code]) return { text: message, details };
  const image = params.image ? fill(errors.image, params) : "";
  return { text: image + fill(errors[code], { ...params, field: label(params.field) }), details: untranslated || details };
}

/** A text for one or for several. */
export function many(key, count) {
  return t(count === 1 ? `${key}One` : key, { count });
}
