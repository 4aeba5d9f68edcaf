"""Reads what miners say, and checks that they may say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import one_line
from ..workflows import Offer
from .http import Refusal, same
from .offers import Variant
from .work import is_name

_MOST_WORKFLOWS = 500
_LONGEST_MESSAGE = 2000


def read_miner(body: Mapping[str, Any], miner_key: str | None, field: str = "erc20_address") -> str:
    """The miner's name, once its key was checked."""
    given = body.get("miner_key")
    if miner_key is not None and not (isinstance(given, str) and _is_text(given) and same(given, miner_key)):
        raise Refusal(401, "the miner_key is missing or not the one that this sequencer expects; set XALORA_MINER_KEY")
    name = body.get(field)
    if not isinstance(name, str) or not 1 <= len(name) <= 100 or not name.isprintable():
        raise Refusal(400, f"{field} is not a name of 1 to 100 printable characters")
    return name


def read_instance(body: Mapping[str, Any]) -> str | None:
    """Which process of that name; None for a miner that never registers."""
    instance = body.get("instance")
    if instance is None:
        return None
    if not isinstance(instance, str) or not 1 <= len(instance) <= 100 or not instance.isalnum():
        raise Refusal(400, "instance is not a text of letters and digits")
    return instance


def read_variants(body: Mapping[str, Any]) -> list[Variant]:
    """The workflows that a miner announces."""
    announced = body.get("workflows")
    if not isinstance(announced, list) or len(announced) > _MOST_WORKFLOWS:
        raise Refusal(400, f"workflows is not a list of at most {_MOST_WORKFLOWS}")
    try:
        offers = [Offer.from_json(each) for each in announced]
        for each in offers:
            if not is_name(each.task_type) or not (each.workflow_id is None or is_name(each.workflow_id)):
                raise ValueError("a name has more than letters, digits, dashes and underscores")
        return [Variant.of(each) for each in offers]
    except (ValueError, OverflowError) as error:
        raise Refusal(400, f"workflows cannot be read: {one_line(str(error))}") from None


def read_ids(body: Mapping[str, Any]) -> frozenset[str]:
    """The ids of the workflows that a public miner can run."""
    ids = body.get("workflow_ids", [])
    if not isinstance(ids, list) or len(ids) > _MOST_WORKFLOWS:
        raise Refusal(400, f"workflow_ids is not a list of at most {_MOST_WORKFLOWS}")
    read = [str(each) for each in ids if isinstance(each, str | int) and not isinstance(each, bool)]
    return frozenset(filter(is_name, read))


def read_software(body: Mapping[str, Any]) -> dict[str, str]:
    """What a miner runs on, for people."""
    said = body.get("software")
    named = said if isinstance(said, dict) else {}
    return {name: one_line(named[name], 80) for name in ("comfyui", "device") if isinstance(named.get(name), str)}


def read_seconds(body: Mapping[str, Any], name: str) -> float | None:
    """A number of seconds; None for what is none."""
    value = body.get(name)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if good and value is not None else None


def read_remark(body: Mapping[str, Any]) -> str | None:
    """What a miner says of a result, such as that there were more files, or of why it gives a task back."""
    msg = body.get("msg")
    return one_line(msg, _LONGEST_MESSAGE) or None if isinstance(msg, str) else None


def read_failure(body: Mapping[str, Any]) -> str:
    """Why a workflow failed: with the node, its title and ComfyUI's message, as the miner says it."""
    msg = body.get("msg")
    error = body.get("error")
    said = msg if isinstance(msg, str) and msg.strip() else ""
    if not said and isinstance(error, dict):
        parts = [str(error[name]) for name in ("title", "class_type", "message") if isinstance(error.get(name), str)]
        said = ": ".join(parts)
    return one_line(said or "the workflow failed on its miner, which did not say why", _LONGEST_MESSAGE)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
