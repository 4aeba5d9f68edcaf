"""Both clients behind one face, a sequencer that says what it is told, and a clock that nobody waits for."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sequencer import Sequencer

from xalora_client import AsyncClient, Client

KEY = "consumer-1#secret-key"


class Clock:
    """Time that passes only when somebody sleeps. ``interrupt`` is raised at the sleep after ``naps`` sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []
        self.interrupt: tuple[int, BaseException] | None = None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if self.interrupt and len(self.sleeps) == self.interrupt[0]:
            raise self.interrupt[1]
        self.sleeps.append(seconds)
        self.now += seconds

    async def nap(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)


class Subject:
    """One of the clients. ``do`` makes one, calls it, closes it, and returns what came back."""

    def __init__(self, kind: str, url: str, home: Path) -> None:
        self.kind = kind
        self.clock = Clock()
        self.options: dict[str, Any] = {
            "api_key": KEY,
            "workflow_url": url,
            "home": home,
            "clock": self.clock,
        }

    def do(self, action: Callable[[Any], Any], **options: Any) -> Any:
        settings = self.options | {"dice": random.Random(7)} | options
        if self.kind == "blocking":
            with Client(**settings, sleep=self.clock.sleep) as client:
                return action(client)

        async def main() -> Any:
            async with AsyncClient(**settings, sleep=self.clock.nap) as client:
                answer = action(client)
                return await answer if inspect.isawaitable(answer) else answer

        return asyncio.run(main())


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine reaches a test."""
    for name in ("XALORA_API_KEY", "XALORA_WORKFLOW_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("XALORA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sequencer() -> Iterator[Sequencer]:
    server = Sequencer()
    yield server
    server.close()


@pytest.fixture(params=["blocking", "event loop"])
def subject(request: pytest.FixtureRequest, sequencer: Sequencer, tmp_path: Path) -> Subject:
    return Subject(request.param, sequencer.url, tmp_path / "home")
