/** Whether the server in force can be used: one line, and every check behind it. */

import { element } from "./elements.js";
import { send } from "./server.js";
import { errorWords, many, t } from "./texts.js";

/**
 * Test the settings in force, and show the answer in this element.
 * @param {HTMLElement} answer
 * @param {(problem: string) => string} [failed] the line for what is wrong
 * @returns {Promise<{line: string, connected?: object, checks: {name: string, status: string}[]}>}
 */
export async function testConnection(answer, failed = (problem) => problem) {
  answer.replaceChildren(t("testing"));
  const { connected, problem, error, checks } = await send("/test").catch((error) => ({ problem: error.message || t("offline"), checks: [] }));
  const line = connected ? words(connected) : failed(error ? errorWords({ ...error, message: problem }).text : problem);
  const items = checks.map(({ status, name, text, advice }) => element("li", { "data-status": status }, `${name}: ${text} ${advice}`.trim()));
  answer.replaceChildren(element("p", { "data-status": connected ? "ok" : "problem" }, line));
  if (items.length) answer.append(element("details", {}, element("summary", {}, t("details")), element("ul", {}, ...items)));
  return { line, connected, checks };
}

function words({ kind, machines, workflows }) {
  if (kind !== "own") return t(kind === "network" ? "connectedNetwork" : "connectedSandbox");
  if (machines === 0) return t("connectedNoMachine");
  const counts = [machines && many("machines", machines), workflows !== undefined && many("workflows", workflows)];
  const told = counts.filter(Boolean).join(", ");
  return told ? t("connectedTo", { told }) : t("connected");
}
