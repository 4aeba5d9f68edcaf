/** The settings in force, as the server tells them, and those who want to know when they change. */

import { ask, send } from "./server.js";
import { t } from "./texts.js";

const listeners = new Set();

/** What `GET /xalora/config` answers. */
export const readSettings = () => ask("/config");

/** Store settings, and tell everybody who shows them. */
export async function storeSettings(changes) {
  const settings = await send("/config", changes);
  announce(settings);
  return settings;
}

/** Tell everybody who shows settings what they are. */
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
