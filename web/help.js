/** The help page of a node, in a dialog. */

import { app } from "../../scripts/app.js";
import { element, openDialog } from "./elements.js";
import { t } from "./texts.js";

const REPOSITORY = "https://github.com/xalora/xalora-nodes#readme";

/** Show a node's help page; without one, a link to the documentation. */
export async function openHelp(nodeType) {
  const page = new URL(`./docs/${nodeType}.md`, import.meta.url);
  const answer = await fetch(page).catch(() => null);
  const link = element("a", { href: REPOSITORY, target: "_blank", rel: "noopener" }, REPOSITORY);
  if (!answer?.ok) {
    openDialog(t("openHelp"), [element("p", {}, link)]);
    return;
  }
  const text = await answer.text();
  const content = element("div.xalora-help");
  const render = app.extensionManager.renderMarkdownToHtml;
  if (render) content.innerHTML = render(text, page.href.replace(/[^/]*$/, ""));
  else content.append(element("pre", {}, text));
  openDialog(t("openHelp"), [content, element("p", {}, link)]);
}
