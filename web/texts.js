/** All texts of the extension. They are in locales/<language>/main.json. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

let texts = {};
/** The texts for the codes of the pack's errors and status lines; empty in English, which comes with each of them. */
let errors = {};
let status = {};

/** The editor's language. An editor that lacks the browser's own shows English: then our texts are in the browser's. */
function languageOf({ settings, get }) {
  const chosen = get("Comfy.Locale") || "en";
  const [own] = navigator.language.split("-");
  const offered = settings?.["Comfy.Locale"]?.options?.map(({ value }) => value) ?? [own];
  return chosen !== "en" || offered.includes(own) ? chosen : own;
}

/** Load the texts in the user's language, in English where that is not known. */
export async function loadTexts() {
  const language = languageOf(app.extensionManager.setting);
  const all = await (await api.fetchApi("/i18n")).json();
  texts = { ...all.en.xalora, ...all[language]?.xalora };
  if (language !== "en") ({ xaloraErrors: errors = {}, xalora: { status = {} } = {} } = all[language] ?? {});
}

/**
 * A text in the user's language.
 * @param {string} key
 * @param {Record<string, string | number>} [values] what {name} in the text stands for
 */
export function t(key, values = {}) {
  return fill(texts[key] ?? key, values);
}

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));

/** A line of parts that the server sent, each with its code, values and English text. */
export const lineOf = (parts) => parts.map(partOf).join(" · ");

function partOf(part) {
  const words = status[part.code];
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
