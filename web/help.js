/** The help page of a node, in a dialog. */

import { app } from "../../scripts/app.js";
import { element, openDialog } from "./elements.js";
import { t } from "./texts.js";

const REPOSITORY = "https://github.com/xalora/xalora-nodes#readme";

/** Show a node's help page, from the section on that is about a kind of error; without one, a link to the documentation. */
export async function openHelp(nodeType, kind = "") {
  const title = LiteGraph.registered_node_types[nodeType]?.title ?? nodeType;
  const page = new URL(`./docs/${nodeType}.md`, import.meta.url);
  const answer = await fetch(page).catch(() => null);
  const link = element("a", { href: REPOSITORY, target: "_blank", rel: "noopener" }, REPOSITORY);
  if (!answer?.ok) {
    openDialog(title, [element("p", {}, link)]);
    return;
  }
  // The page's first line is the dialog's title.
  const text = (await answer.text()).replace(/^#.*\n/, "");
  const content = element("div.xalora-help");
  const render = app.extensionManager.renderMarkdownToHtml;
  if (render) content.innerHTML = render(text, page.href.replace(/[^/]*$/, ""));
  else content.append(...text.split(/^(?=## )/m).map((part) => element("pre", {}, part)));
  openDialog(title, [content, element("p", {}, link)]);
  if (!kind) return;
  const section = kind === "kindInput" ? "Inputs" : "If something happens on the way";
  const parts = [...content.querySelectorAll("h2, pre")];
  parts.find(({ textContent }) => textContent.replace("## ", "").startsWith(section))?.scrollIntoView();
}
