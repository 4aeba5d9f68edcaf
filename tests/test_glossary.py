"""Names and messages use the field's words: the glossary in CONTRIBUTING.md, held against the syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(path for folder in ("nodes", "xalora_client") for path in (ROOT / folder).rglob("*.py"))
TEXTS = [*SHIPPED, *(ROOT / "locales" / "en").glob("*.json"), ROOT / "README.md"]
TEXTS += sorted((ROOT / "web" / "docs").glob("*.md"))

PARTS = {
    "place": "caller, bucket_url, destination, server_name, authority",
    "intent": "fingerprint, identity",
    "doubtful": "unconfirmed",
    "settle settled": "shield, wait_until_done",
    "looks": "poll, check",
    "told said says": "message, payload, reported",
    "dice": "rng",
    "trouble": "last_error",
    "passing temporary lasting never_sent": "transient, permanent, not_sent",
    "refusal explained": "HTTPError, blocked_address, bucket_error, map_error",
    "give_up give_back": "end, requeue",
    "offer offers variant abilities announcement": "capability, capabilities",
    "adopt bring carry_out hand_over": "commit, fetch, run_task, upload_input",
    "untaken unmoved look_alone": "queue_stall, progress_stall, poll_without_ws",
    "endings hear_cancel last_line last_lines": "error_messages, watch_interrupt_flag, status_line",
    "foreign": "cross_site",
}
"""Words that no part of a name may be, and what to use."""

WHOLE = {
    "job jobs submission": "CreateRequest, CreatedTask",
    "entry entries work": "TaskRecord, OpenTask",
    "attach busy resend": "existing, in_progress, resent",
    "held hold heard take assign until": "pending_interrupt, renew, acknowledged, claim_next, dispatch, expires_at",
    "look say tell ends": "poll, check, report, outcome, error",
    "each": "the thing's own name",
    "cancels": "should_cancel",
    "delivery way objects turns turn core ahead": "uploads, method, slot",
    "lose lease_over": "attempt_lost, LeaseLost",
    "catalog kinds": "capabilities, TaskType",
    "mark silent refused quiet": "client_id_prefix, no_response, connection_refused, log_interval",
    "failure": "WorkflowFailure",
    "keep complete": "store, mark_complete",
    "addresses forms shown": "ssrf, validation, display_url",
    "remote perform make": "NodeRun, run, create",
    "guard named": "same_origin, REBOUND_HOST",
}
"""Words that no name may be, and what to use. As parts of a name they say something else: ``job_id``, ``is_busy``."""

ALLOWED: dict[str, str] = {}
"""Names in which such a word is the field's own, and why."""

PHRASES = ["milliard", "Do without", "nothing runs on", "taken up", "is not to be had", "may run on"]


def words(name: str) -> list[str]:
    """The words of a name in snake or camel case, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def named(path: Path) -> Iterator[tuple[int, str]]:
    """Each module, class, function, parameter, attribute and constant that a file names, and the line."""
    yield 1, path.parent.name if path.stem == "__init__" else path.stem
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        if isinstance(node, (ast.Module, ast.ClassDef)):
            targets = [
                target
                for statement in node.body
                if isinstance(statement, (ast.Assign, ast.AnnAssign))
                for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
            ]
            yield from (
                (name.lineno, name.id) for each in targets for name in ast.walk(each) if isinstance(name, ast.Name)
            )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_are_the_fields_words(path):
    parts = {part: use for listed, use in PARTS.items() for part in listed.split()}
    whole = {word: use for listed, use in WHOLE.items() for word in listed.split()}
    wrong = []
    for line, name in named(path):
        own = words(name)
        snake = "_".join(own)
        found = [part for part in parts if f"_{part}_" in f"_{snake}_"] + [snake] * (snake in whole)
        if found and name not in ALLOWED:
            wrong.append(f"{line}: {name} (use {(parts | whole)[found[0]]})")
    assert wrong == []


def test_what_is_allowed_is_there():
    there = {name for path in SHIPPED for _, name in named(path)}
    assert [name for name in ALLOWED if name not in there] == []


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_message_has_a_phrase_that_was_replaced(phrase):
    assert [path.relative_to(ROOT).as_posix() for path in TEXTS if phrase in path.read_text(encoding="utf-8")] == []
