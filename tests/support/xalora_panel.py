"""What the extension shows in the editor: its messages, its dialogs and the sidebar tab, as a user finds them."""

from __future__ import annotations

from typing import Any


class XaloraPanel:
    """The extension's parts of a page. Everything is found by its role and its words, as by a screen reader."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def message(self, text: str) -> Any:
        """The message that says this, once it is there."""
        message = self.page.locator(".xalora-notice").filter(has_text=text).last
        message.wait_for()
        return message

    def press(self, text: str, button: str) -> None:
        """Press a button of the message that says this."""
        self.message(text).get_by_role("button", name=button, exact=True).click()

    def dialog(self, title: str) -> Any:
        """The dialog with this title, once it is there."""
        dialog = self.page.get_by_role("dialog", name=title)
        dialog.wait_for()
        return dialog

    def set_key(self, url: str, key: str) -> None:
        """Fill in the key dialog, which is open, save, and close it if it stays."""
        dialog = self.dialog("Xalora key and server")
        dialog.get_by_label("Server", exact=True).select_option("own")
        dialog.get_by_label("Address of the sequencer").fill(url)
        dialog.get_by_label("Key (consumer#key)").press_sequentially(key)
        dialog.get_by_role("button", name="Save").click()
        done = dialog.get_by_role("button", name="Done")
        done.or_(self.page.locator(".xalora-notice").filter(has_text="Saved")).first.wait_for()
        if done.count():
            done.click()
        dialog.wait_for(state="detached")

    def open_tab(self) -> Any:
        """Open the sidebar tab; returns its region once the list is loaded."""
        tab = self.page.get_by_role("region", name="Xalora tasks")
        if not tab.count():
            self.tab_button().click()
        tab.wait_for()
        tab.get_by_text("Loading…").wait_for(state="detached")
        return tab

    def tab_button(self) -> Any:
        """The tab's icon in the sidebar."""
        return self.page.get_by_role("button", name="Xalora tasks")

    def badge(self) -> str:
        """What the icon's badge says, "" without one."""
        return "".join(self.tab_button().locator(".p-badge, .sidebar-icon-badge").all_inner_texts()).strip()

    def task(self, text: str) -> Any:
        """The row of a task whose text this is part of, once it is there."""
        row = self.open_tab().get_by_role("option").filter(has_text=text).first
        row.wait_for()
        return row

    def act(self, text: str, action: str) -> None:
        """Select a task and press one of its buttons, or choose from its menu."""
        self.task(text).click()
        details = self.open_tab().locator(".xalora-details")
        pressed = details.get_by_text(action, exact=True)
        pressed.wait_for(state="attached")
        if not pressed.is_visible():
            details.get_by_text("More", exact=True).click()
        pressed.click()
