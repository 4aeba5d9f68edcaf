"""What must hold of every case, and what the case itself demands: each breach is a line."""

from __future__ import annotations

import pickle
import re
import traceback
from collections.abc import Iterator

from tests.faults.network import PUBLIC
from tests.faults.run import SUCCESS, Outcome, Runs
from tests.faults.steps import CANARY, KEY
from tests.faults.world import picture
from xalora_client import XaloraError

LONGEST_TEXT = 1200
"""Characters of an error's text, an update or a line of the log."""

_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ENDPOINTS = ("/task_create", "/task_result_query", "/task_cancel", "/resource_request")


def odd_in(text: str) -> str | None:
    """The first character in the text that may not be shown."""
    found = _UNSHOWN.search(text)
    return found[0] if found else None


def breaches(runs: Runs) -> list[str]:
    """Everything that is not as it has to be."""
    checks = (_ending, _money, _costs, _texts, _network, _traces, _healing)
    return [line for check in checks for line in check(runs)]


def _ending(runs: Runs) -> Iterator[str]:
    case, first = runs.case, runs.first
    if first.ended not in case.ends.split(" or "):
        yield f"ended in {first.ended}, not in {case.ends}: {_short(first.error)}"
    if first.error is not None and not isinstance(first.error, XaloraError):
        yield f"a bare {type(first.error).__name__}"
    elif first.error is not None and type(first.error).__name__ != first.ended:
        yield f"a {type(first.error).__name__}, which users cannot name"
    if first.ended == SUCCESS and case.do.endswith("run") and (case.whole or not case.file):
        yield from _whole(first, case.any_id)
    words = str(first.error) if first.error else " ".join(first.logged)
    for text in case.says:
        if runs.world.text(text) not in words:
            yield f"does not say {text!r}: {_short(first.error)}"
    if case.logs and case.logs not in " ".join(first.logged):
        yield f"does not log {case.logs!r}"
    if case.names_job and (not runs.world.created or runs.world.created[0] not in words):
        yield f"does not name the job: {_short(first.error)}"
    pauses = first.sleeps - any(b"/task_result_query" in each.line for each in runs.world.requests)
    if case.at_once and pauses > 0:
        yield f"tried again after {pauses} pauses"


def _whole(outcome: Outcome, any_id: bool) -> Iterator[str]:
    if outcome.value["content"] != picture():
        yield f"the file has {len(outcome.value['content'])} bytes that are not the picture's"
    if not any_id and not outcome.value["task_id"].startswith("t-"):
        yield f"the task is {outcome.value['task_id'][:80]!r}, somebody else's"


def _money(runs: Runs) -> Iterator[str]:
    case, world = runs.case, runs.world
    if runs.first.creates != _creates(runs):
        yield f"{runs.first.creates} creates, not {_creates(runs)}"
    charges = case.charges if "run" in case.do or "create" in case.do else 0
    if len(world.jobs) != charges:
        yield f"{len(world.jobs)} jobs charged, not {charges}"


def _creates(runs: Runs) -> int:
    return runs.case.creates if "run" in runs.case.do or "create" in runs.case.do else 0


def _costs(runs: Runs) -> Iterator[str]:
    case, first = runs.case, runs.first
    if first.seconds > case.seconds:
        yield f"took {first.seconds:.1f} s, more than {case.seconds:g}"
    if first.memory is not None and first.memory > case.memory:
        yield f"took {first.memory:.0f} MiB above rest, more than {case.memory}"


def _texts(runs: Runs) -> Iterator[str]:
    for outcome in (runs.first, runs.second):
        for kind, text in _texts_of(outcome):
            if CANARY in text:
                yield f"a secret in {kind}: {_around(text)}"
            if kind == "the traceback":
                continue
            if kind != "the error's repr" and (odd := odd_in(text.replace("\n", " "))):
                yield f"{odd!a} in {kind}"
            if len(text) > LONGEST_TEXT:
                yield f"{len(text):,} characters in {kind}"
        if outcome.error is not None:
            yield from _pickled(outcome.error)
    for path in runs.home.rglob("*"):
        if path.is_file() and KEY.encode() in path.read_bytes():
            yield f"the key in {path.name}"


def _texts_of(outcome: Outcome) -> Iterator[tuple[str, str]]:
    error = outcome.error
    if error is not None:
        yield "the error", str(error)
        yield "the error's repr", repr(error)
        lines = traceback.TracebackException.from_exception(error, lookup_lines=False)
        yield "the traceback", "".join(lines.format())
    for update in outcome.updates:
        yield "an update", update.describe()
        yield "an update's trouble", update.last_error or ""
    for line in outcome.logged:
        yield "the log", line


def _pickled(error: BaseException) -> Iterator[str]:
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception as why:  # noqa: BLE001 - whatever pickling raises
        yield f"the error cannot be pickled: {type(why).__name__}"
    else:
        if (type(copy), str(copy)) != (type(error), str(error)):
            yield "the error is another one after pickling"


def _network(runs: Runs) -> Iterator[str]:
    case = runs.case
    allowed = {PUBLIC} if case.public else {"127.0.0.1"}
    if "HTTP_PROXY" in case.environment or "HTTPS_PROXY" in case.environment:
        allowed.add("127.0.0.1")
    for address in sorted({each for each in runs.network.contacts if each not in allowed | set(case.contacts)}):
        yield f"contacted {address}"


def _traces(runs: Runs) -> Iterator[str]:
    """What requests carry."""
    case, servers = runs.case, runs.world.servers
    for request in runs.world.requests:
        shown = f"{request.method} {request.target[:60]}"
        for name in {"cookie", "referer"} & set(request.headers):
            yield f"a {name} in {shown}"
        if request.method != "POST" and KEY in f"{request.line!r}{request.headers}{request.body!r}":
            yield f"the key in {shown}"
        if request.method == "POST" and not request.target.partition("?")[0].endswith(_ENDPOINTS):
            yield f"an unexpected {shown}"
    for name in ("files", "elsewhere"):
        for request in servers[name].requests:
            if request.method == "POST":
                yield f"a POST to {name}"
            login = request.headers.get("authorization")
            if login is not None and (name == "elsewhere" or login != case.authorization):
                yield f"a login was sent to {name}: {login}"
    if case.target is not None:
        asked = [each.target for each in servers["files"].requests]
        if case.target not in asked:
            yield f"asked for {asked[:2]}, not for {case.target!r}"
    if case.authorization and case.authorization not in [
        each.headers.get("authorization") for each in servers["files"].requests
    ]:
        yield "the login was not sent"


def _healing(runs: Runs) -> Iterator[str]:
    second = runs.second
    if second.ended != runs.case.again:
        yield f"the second run ended in {second.ended}, not in {runs.case.again}: {_short(second.error)}"
    elif second.ended == SUCCESS and isinstance(second.value, dict):
        yield from (f"second run: {line}" for line in _whole(second, runs.case.any_id))
    strangers = [each.name for each in runs.home.parent.iterdir() if each != runs.home]
    if strangers:
        yield f"files outside the home: {strangers}"


def _short(error: BaseException | None) -> str:
    return repr(str(error))[:160] if error is not None else "no error"


def _around(text: str) -> str:
    start = text.index(CANARY)
    return repr(text[max(0, start - 60) : start + 40])
