"""The users of a ComfyUI with ``--multi-user``, one a browser, whose lists of tasks are kept apart."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from . import IN_COMFYUI, at_prompt, before_each_request

if IN_COMFYUI:
    from comfy.cli_args import args
    from server import PromptServer

FIELD = "xalora_user"
"""The user in a prompt's extra data, which ComfyUI keeps beside the prompt, and writes into no picture."""

_user: ContextVar[str] = ContextVar("xalora_user", default="")
"""The user whose request is being answered. ComfyUI tells those who see a new prompt nothing of its request."""


def user_of(request: Any) -> str | None:
    """Whose browser sent a request, "" for one that has no user; None where ComfyUI does not tell users apart."""
    if not IN_COMFYUI or not args.multi_user:
        return None
    try:
        return str(PromptServer.instance.user_manager.get_request_user_id(request))
    except KeyError:
        return ""


def note_users() -> None:
    """Have each prompt say in its extra data whose browser sent it. Must run before ComfyUI's server starts."""
    if IN_COMFYUI and args.multi_user:
        before_each_request(lambda request: _user.set(user_of(request) or ""))
        at_prompt(_with_user)


def _with_user(prompt: dict[str, Any]) -> dict[str, Any]:
    return {**prompt, "extra_data": {**prompt.get("extra_data", {}), FIELD: _user.get()}}
