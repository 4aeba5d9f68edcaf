/** The settings in force, as the server reports them, and listeners for their changes. */

import { ask, send } from "./server.js";
import { t } from "./texts.js";

const listeners = new Set();

/** What `GET /xalora/config` answers. */
export const readSettings = () => ask("/config");

/** Store settings, and notify the listeners. */
export async function storeSettings(changes) {
  const settings = await send("/config", changes);
  announce(settings);
  return settings;
}

/** Notify the listeners of the settings. */
export function announce(settings) {
  for (const listener of listeners) listener(settings);
}

/** Call the listener with the settings after each change, until the returned function is called. */
export function onSettings(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Where a setting comes from, in words. */
export const sourceName = (source) =>
  t({ environment: "sourceEnvironment", ".env": "sourceDotenv", stored: "sourceStored" }[source] ?? "sourceDefault");

/** What is known of the key, in words. */
export function keyStatus({ key }) {
  if (!key.needed && !key.set) return t("keyNotNeeded");
  return key.set ? t("keyOf", { consumer: key.consumer, source: sourceName(key.source) }) : t("keyNone");
}
