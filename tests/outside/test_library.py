"""What programs use of ``xalora_client``: names, errors and what they offer to do, and where a task comes from."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import xalora_client
from tests.support.fake_file_server import FakeFileServer, File
from tests.support.fake_sequencer import DROP, Answer, FakeSequencer, status
from tests.support.loopback import deaf_url
from tests.support.raw_server import RawServer
from tests.support.sandbox_process import SandboxProcess
from tests.support.snapshot import Snapshot
from xalora_client import AsyncClient, Client, CustomTask, Text2VideoTask, XaloraError
from xalora_client.config import DEFAULT_URL

KEY = "consumer-1#secret-key"
CREATED = Answer({"task_id": "t1", "revision": 0, "long_poll_seconds": 25})
"""Of a server that may be asked at once."""

CALLS = (
    "execute_workflow",
    "query_task_result",
    "execute_workflow_and_wait_for_result",
    "wait_for_result",
    "cancel_task",
    "resource_request",
    "download",
    "download_all",
    "close",
)


def errors() -> list[type[XaloraError]]:
    exported = [getattr(xalora_client, name) for name in xalora_client.__all__]
    return [each for each in exported if isinstance(each, type) and issubclass(each, XaloraError)]


def test_names(snapshot: Snapshot) -> None:
    """Programs and nodes import these. New ones may come; one goes only on purpose, with a line in the changelog."""
    snapshot.check("names", sorted(xalora_client.__all__))
    assert [name for name in xalora_client.__all__ if not hasattr(xalora_client, name)] == []


def test_errors_and_their_remedies(snapshot: Snapshot) -> None:
    """What each error is, for ``except``, and what a program may offer to do about it."""
    tree = {
        each.__name__: {"is": [base.__name__ for base in each.__bases__], "remedy": each.remedy} for each in errors()
    }
    snapshot.check("errors", tree)
    assert {each.__module__ for each in errors()} == {"xalora_client"}


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_calls(kind: type[Any], snapshot: Snapshot) -> None:
    def written(parameter: inspect.Parameter) -> str:
        star = "* " if parameter.kind is inspect.Parameter.KEYWORD_ONLY else ""
        return f"{star}{parameter.name}" + ("" if parameter.default is parameter.empty else f"={parameter.default!r}")

    calls = {name: inspect.signature(getattr(kind, name)).parameters.values() for name in CALLS}
    snapshot.check("calls", {name: [written(each) for each in list(found)[1:]] for name, found in calls.items()})


def refused(code: int, **headers: str) -> Callable[[FakeSequencer], object]:
    """A sequencer that answers every create like this."""
    return lambda server: server.script("task_create", Answer({"message": "no"}, code, headers))


def ended(**answer: Any) -> Callable[[FakeSequencer], object]:
    """A sequencer whose tasks stand like this."""
    return lambda server: server.script("task_result_query", status(**answer))


MISHAPS: dict[str, Callable[[FakeSequencer], object]] = {
    **{str(code): refused(code) for code in (302, 400, 401, 402, 403, 404, 405, 409, 410, 413, 422, 500, 503)},
    "429": refused(429, **{"Retry-After": "999"}),
    "no JSON": lambda server: server.script("task_create", Answer(b"<html>")),
    "no id": lambda server: server.script("task_create", Answer({})),
    "cut": lambda server: server.script("task_create", DROP),
    "failed": ended(name="failed"),
    "canceled": ended(name="canceled"),
    "no media": ended(name="finished", result=None),
}


def outcome(make: Callable[[], Any], act: Callable[[Any], Any]) -> list[Any]:
    """The error of making a client and using it: its class, its remedy and its task."""
    with pytest.raises(XaloraError) as caught, make() as client:
        act(client)
    return [type(caught.value).__name__, caught.value.remedy, caught.value.task_id]


def all_of(client: Client, timeout: float = 20.0) -> None:
    """From a task to its file."""
    client.download(client.execute_workflow_and_wait_for_result(CustomTask("kind", {"a": 1}), timeout=timeout))


def shortly(client: Client) -> None:
    """The same for somebody who has no patience."""
    all_of(client, timeout=0.3)


def test_what_an_error_offers(
    sequencer: FakeSequencer, files: FakeFileServer, home: Path, monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot
) -> None:
    """The class, remedy and task of the error after each mishap."""

    def client(url: str = sequencer.url, key: str | None = KEY, **options: Any) -> Callable[[], Client]:
        return lambda: Client(key, url, **{"home": home} | options)

    found: dict[str, Any] = {}
    for name, prepare in MISHAPS.items():
        server = FakeSequencer()
        server.script("task_create", CREATED)
        prepare(server)
        found[name] = outcome(client(server.url), all_of)
        server.close()
    sequencer.script("task_create", CREATED)
    for name, file in (("no picture", File(b"<html>")), ("gone", File(b"", 410))):
        sequencer.script("task_result_query", status("finished", result=files.serve("/a.png", file)))
        found[f"the file is {name}"] = outcome(client(), all_of)
    sequencer.script("task_result_query", status("running"))
    found["late"] = outcome(client(), shortly)
    sequencer.script("task_result_query", Answer({"message": "no"}, 404))
    found["a task that is not known"] = outcome(client(), lambda each: each.query_task_result("t9"))
    with deaf_url() as url:
        found["nobody listens"] = outcome(client(url), shortly)
    found["no key"] = outcome(client(DEFAULT_URL, key=None), all_of)
    found["a key in the wrong form"] = outcome(client(key="key"), all_of)
    found["an address in the wrong form"] = outcome(client("no address"), all_of)
    video: dict[str, Any] = {"width": 7}
    found["a value out of range"] = outcome(client(), lambda _: Text2VideoTask("a rabbit", **video))
    found["a task that is none"] = outcome(client(), lambda each: each.query_task_result(""))
    no_folder = home.parent / "a file"
    no_folder.write_text("")
    found["a folder that cannot be written"] = outcome(client(home=no_folder, ledger=True), all_of)
    monkeypatch.setenv("HTTP_PROXY", "nonsense://proxy")
    found["a proxy that cannot be used"] = outcome(client("http://sequencer.example"), all_of)
    snapshot.check("mishaps", found)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A sandbox whose tasks take a moment."""
    process = SandboxProcess(tmp_path_factory.mktemp("slow"), render_seconds=0.5)
    yield process
    process.close()


def use(kind: type[Any], url: str, home: Path, call: str, *arguments: Any) -> tuple[Any, list[str]]:
    """A call with a ledger, and the origins that it reported."""
    origins: dict[str, None] = {}
    options: dict[str, Any] = {"on_update": lambda update: origins.setdefault(update.origin)}

    async def main() -> Any:
        async with AsyncClient(KEY, url, home=home, ledger=True) as client:
            return await getattr(client, call)(*arguments, **options)

    if kind is AsyncClient:
        return asyncio.run(main()), list(origins)
    with Client(KEY, url, home=home, ledger=True) as client:
        return getattr(client, call)(*arguments, **options), list(origins)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_where_a_task_comes_from(
    kind: type[Any], slow: SandboxProcess, home: Path, monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot
) -> None:
    """``TaskUpdate.origin`` in each case, with a real sandbox and a ledger, and how many tasks the sandbox then has."""
    wait, found = "execute_workflow_and_wait_for_result", dict[str, Any]()

    def note(name: str, call: str, *arguments: Any) -> Any:
        answer, origins = use(kind, slow.url, home, call, *arguments)
        ((count,),) = slow.rows("SELECT count(*) FROM tasks")
        found[name] = {"origins": origins, "tasks": count - before}
        return answer

    ((before,),) = slow.rows("SELECT count(*) FROM tasks")
    task = Text2VideoTask(f"a rabbit {kind.__name__}", width=64, height=48, length=1)
    made = note("created", "execute_workflow", task)
    assert note("again while it runs", wait, task).task_id == made
    assert note("again when it is finished", wait, task).task_id == made
    other = note(
        "created and waited for", wait, Text2VideoTask(f"a fox {kind.__name__}", width=64, height=48, length=1)
    )
    assert other.status == "finished"
    given = Text2VideoTask(f"an owl {kind.__name__}", width=64, height=48, length=1)
    note("by its id", "wait_for_result", use(kind, slow.url, home, "execute_workflow", given)[0])
    lost = Text2VideoTask(f"a mole {kind.__name__}", width=64, height=48, length=1)
    connect = socket.socket.connect
    with RawServer(lambda _: iter(())) as deaf, monkeypatch.context() as patched:
        patched.setattr(socket.socket, "connect", lambda self, _: connect(self, ("127.0.0.1", deaf.port)))
        with pytest.raises(xalora_client.NetworkError):
            use(kind, slow.url, home, wait, lost)
    note("again after an answer that was lost", wait, lost)
    snapshot.check("origins", found)
