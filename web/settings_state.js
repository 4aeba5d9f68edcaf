/** The settings in force, as the server reports them, and listeners for their changes. */

import { ask, send } from "./server.js";
import { t } from "./texts.js";

const listeners = new Set();

/** What `GET /xalora/config` answers. */
export const readSettings = () => ask("/config");

/** Store settings, and notify the listeners. */
export async function storeSettings(changes) {
  const settings = await send("/config", changes);
  announce(settings, changes);
  return settings;
}

/** Notify the listeners of the settings, and of those that were stored. */
export function announce(settings, changes) {
  for (const listener of listeners) listener(settings, changes);
}

/** Call the listener with the settings and the changes after each store, until the returned function is called. */
export function onSettings(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Where a setting comes from, in words. */
export const sourceName = (source) =>
  t({ environment: "sourceEnvironment", ".env": "sourceDotenv", stored: "sourceStored" }[source] ?? "sourceDefault");

/** What is known of the key, in words. */
export function keyStatus({ key, server }) {
  if (!key.set && server.kind === "sandbox") return t("keyNotNeeded");
  return key.set ? t("keyOf", { consumer: key.consumer, source: sourceName(key.source) }) : t("keyNone");
}
