"""One case, one client: the call that meets the fault, and the same call again once everything is healed."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import logging
import os
import random
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import xalora_client
from tests.faults import certificates
from tests.faults.network import PUBLIC, Network
from tests.faults.steps import KEY, Case
from tests.faults.world import World
from xalora_client import AdvancedOptions, AsyncClient, Client, Limits, Text2VideoTask, XaloraError
from xalora_client.client import download, session
from xalora_client.http import transport as http

CLIENTS = ("blocking", "event loop")
SUCCESS = "success"
SHORT = 0.7
"""Real seconds that stand for a time limit in a case that is about it."""

_VARIABLES = re.compile(r"XALORA_.*|.*_PROXY|(REQUESTS|CURL)_CA_BUNDLE|SSL_CERT_(FILE|DIR)", re.IGNORECASE)
_NAMES = {
    "sequencer.example": (PUBLIC,),
    "files.example": (PUBLIC,),
    "elsewhere.example": (PUBLIC,),
    "inside.example": ("127.0.0.1",),
    "private.example": ("10.0.0.7",),
    "metadata.example": ("169.254.169.254",),
}


@dataclass
class Outcome:
    """How one run ended. ``error`` is what was raised, ``memory`` in MiB above rest (None where it is not known)."""

    ended: str
    error: BaseException | None = None
    value: Any = None
    creates: int = 0
    requests: int = 0
    seconds: float = 0.0
    memory: float | None = None
    sleeps: int = 0
    updates: list[Any] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)


@dataclass
class Runs:
    """Both runs of a case with one client, and the world they ran in."""

    case: Case
    client: str
    world: World
    network: Network
    home: Path
    first: Outcome
    second: Outcome


def run(case: Case, client: str, folder: Path) -> Runs:
    """Run a case in an empty folder."""
    _warm_up()
    world = World(case)
    network = Network(_NAMES | case.names)
    folder.mkdir(exist_ok=True)
    home = folder / "home"
    with ExitStack() as stack:
        stack.enter_context(_limits(case))
        stack.enter_context(world.running())
        stack.enter_context(network.watched())
        environment = {name: world.text(value) for name, value in case.environment.items()}
        if case.secure:
            environment.setdefault("REQUESTS_CA_BUNDLE", certificates.authority())
        first = _run(world, client, home, environment)
        world.heal()
        if case.secure or case.untrusted:
            bundle = certificates.authority("unknown" if case.untrusted else "trusted")
            second = _run(world, client, home, {"REQUESTS_CA_BUNDLE": bundle})
        else:
            second = _run(world, client, home, {})
    return Runs(case, client, world, network, home, first, second)


def _run(world: World, client: str, home: Path, environment: dict[str, str]) -> Outcome:
    outcome = Outcome(SUCCESS)
    creates, requests = len(world.created), len(world.requests)
    world.clock.sleeps.clear()
    with _environment(environment), _logged(outcome.logged):
        rest, started = _memory_at_rest(), time.monotonic()
        try:
            outcome.value = _act(world, client, home, outcome.updates.append)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            outcome.error, outcome.ended = error, class_name(error)
        outcome.seconds = time.monotonic() - started
        outcome.memory = None if rest is None else _most_memory() - rest
    outcome.sleeps = len([each for each in world.clock.sleeps if each])
    outcome.creates, outcome.requests = len(world.created) - creates, len(world.requests) - requests
    return outcome


def class_name(error: BaseException) -> str:
    """The name of the error's class, or of the narrowest class above it that users can name."""
    known = (each.__name__ for each in type(error).__mro__ if getattr(xalora_client, each.__name__, None) is each)
    return next(known, type(error).__name__)


def _act(world: World, kind: str, home: Path, on_update: Callable[[Any], None]) -> Any:
    case = world.case
    ours: dict[str, Any] = {"clock": world.clock, "rng": random.Random(7)}
    options: dict[str, Any] = {
        "api_key": f"consumer-1#{KEY}",
        "workflow_url": world.url,
        "home": home,
        "ledger": True,
        "limits": Limits(**case.limits),
    }
    # What was waited for before a fault is run once more as a whole: so a second run shows what was charged.
    calls = [
        _idle(world) if each == "idle" else _CALLS[each]
        for each in (case.do if not world.healed or case.do != "create" else "run").split("+")
    ]
    if kind == "blocking":
        with Client(**options, advanced=AdvancedOptions(sleep=world.clock.sleep, **ours)) as client:
            return [_blocking(call(client, on_update)) for call in calls][-1]

    async def nap(seconds: float) -> None:
        world.clock.sleep(seconds)
        await asyncio.sleep(0)

    async def main() -> Any:
        async with AsyncClient(**options, advanced=AdvancedOptions(sleep=nap, **ours)) as client:
            return [await call(client, on_update) for call in calls][-1]

    return asyncio.run(main())


def _blocking(call: Awaitable[Any]) -> Any:
    """What an awaitable gives that never waits."""
    steps = call.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    raise AssertionError("a blocking client awaited something")


async def _now(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _run_and_download(client: Any, on_update: Callable[[Any], None]) -> Any:
    result = await _now(client.execute_workflow_and_wait_for_result(_task(), 300.0, None, on_update))
    file = await _now(client.download(result))
    return {"task_id": result.task_id, "content": file.path.read_bytes()}


def _task() -> Text2VideoTask:
    return Text2VideoTask("a rabbit", workflow_id="1")


def _idle(world: World) -> Callable[[Any, Callable[[Any], None]], Awaitable[Any]]:
    async def idle(client: Any, _: Any) -> None:
        if world.healed:
            return
        if isinstance(client, Client):
            world.be_idle()
            return
        await asyncio.to_thread(world.be_idle)
        for _ in range(5):  # What came in by now is seen.
            await asyncio.sleep(0)

    return idle


_CALLS: dict[str, Callable[[Any, Callable[[Any], None]], Awaitable[Any]]] = {
    "run": _run_and_download,
    "create": lambda client, _: _now(client.execute_workflow(_task())),
    "query": lambda client, _: _now(client.query_task_result("t-0")),
    "wait": lambda client, on_update: _now(client.wait_for_result("t-0", 300.0, None, on_update)),
    "cancel": lambda client, _: _now(client.cancel_task("t-0")),
    "resource": lambda client, _: _now(client.resource_request()),
}


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    others = {name: value for name, value in os.environ.items() if not _VARIABLES.fullmatch(name)}
    with patch.dict(os.environ, others | variables, clear=True):
        yield


class _Ear(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        # Of other libraries, what nobody has to ask for.
        if record.name.startswith("xalora") or record.levelno >= logging.WARNING:
            self.lines.append(self.format(record))


@contextmanager
def _logged(lines: list[str]) -> Iterator[None]:
    ear, root, ours = _Ear(lines), logging.getLogger(), logging.getLogger("xalora_client")
    level = ours.level
    root.addHandler(ear)
    ours.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(ear)
        ours.setLevel(level)


_LIMITS = (
    (session, "REQUEST_TIMEOUT", SHORT),
    (session, "QUERY_TIMEOUT", SHORT),
    (http, "CONNECT_TIMEOUT", SHORT),
    (download, "LONGEST_SILENCE", SHORT),
    (download, "TRIES_WITHOUT_PROGRESS", 2),
)
"""What bounds the client's patience, and small values for it."""


@contextmanager
def _limits(case: Case) -> Iterator[None]:
    """Short time limits where the case is about them: what is tested is that they hold, not how long they are."""
    with ExitStack() as stack:
        for module, name, value in _LIMITS if case.slow else ():
            stack.enter_context(patch.object(module, name, value))
        yield


def _memory_at_rest() -> float | None:
    """Present memory in MiB, from which the peak counts anew; None where the system does not say (it is not Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # What earlier cases used and freed is no rest.
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _of_status("VmRSS")


def _most_memory() -> float:
    return _of_status("VmHWM")


def _of_status(name: str) -> float:
    match = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


_warm: list[bool] = []


def _warm_up() -> None:
    """Load what the first call loads: it is no case's time and memory."""
    if not _warm:
        _warm.append(True)
        for client in CLIENTS:
            with tempfile.TemporaryDirectory() as folder:
                warm = run(Case("nothing is wrong"), client, Path(folder))
                assert not isinstance(warm.first.error, XaloraError), warm.first.error
