"""A sequencer for tests that plays the miner too: the test says how each task ends, and may hold answers back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.fake_sequencer import Answer, FakeSequencer, Seen, status
from tests.support.pictures import png

HOLD_SECONDS = 30.0
"""After so long an answer that is held back is given even if the test forgot it."""


class Gate:
    """Answers wait here while it is shut."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.waiting = threading.Event()
        self.answered: list[float] = []

    def shut(self) -> None:
        self.free.clear()
        self.waiting.clear()

    def open(self) -> None:
        self.free.set()

    def pass_through(self) -> None:
        self.waiting.set()
        self.free.wait(HOLD_SECONDS)
        self.answered.append(time.time())


class FakeXalora(FakeSequencer):
    """Tasks are called task-1, task-2, ... in the order they come in.

    ``ends(number, parameters)`` says how each stands when it is asked for: the bytes of its media, or an answer.
    ``creates``, ``queries`` and ``downloads`` are gates; ``most_open`` is how many tasks were open at once at most.
    """

    def __init__(self, ends: Callable[[int, dict[str, Any]], bytes | Answer] | None = None) -> None:
        super().__init__()
        self.ends = ends or (lambda number, parameters: png())
        self.parameters: dict[int, dict[str, Any]] = {}
        self.cancelled: dict[str, float] = {}
        self.creates, self.queries, self.downloads = Gate(), Gate(), Gate()
        self.open: set[int] = set()
        self.most_open = 0
        self.counting = threading.Lock()
        self.script("task_create", self._create)
        self.script("task_result_query", self._query)
        self.script("task_cancel", self._cancel)

    def _create(self, seen: Seen) -> Answer:
        with self.counting:
            number = len(self.parameters) + 1
            self.parameters[number] = seen.body["task_details"]["parameters"]
            self.open.add(number)
            self.most_open = max(self.most_open, len(self.open))
        self.creates.pass_through()
        return Answer({"task_id": f"task-{number}", "msg": "ok"})

    def _query(self, seen: Seen) -> Answer:
        self.queries.pass_through()
        task_id = seen.body["task_id"]
        number = int(task_id.removeprefix("task-") or 0)
        if number not in self.parameters:
            return Answer({"message": "there is no such task"}, 404)
        end = self.ends(number, self.parameters[number])
        if isinstance(end, bytes):
            end = status("finished", task_id=task_id, result=self._serve(number, end))
        if end.body.get("status") not in ("waiting", "running"):
            with self.counting:
                self.open.discard(number)
        return end

    def _serve(self, number: int, content: bytes) -> str:
        def media(seen: Seen) -> Answer:
            self.downloads.pass_through()
            return Answer(content)

        self.answers[f"/media/{number}"] = [media]
        return f"{self.url}/media/{number}"

    def _cancel(self, seen: Seen) -> Answer:
        self.cancelled[seen.body["task_id"]] = time.time()
        return Answer({"task_id": seen.body["task_id"], "msg": "canceled"})

    def close(self) -> None:
        for gate in (self.creates, self.queries, self.downloads):
            gate.open()
        super().close()
