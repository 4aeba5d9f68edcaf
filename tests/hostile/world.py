"""A real sequencer process among strangers: an honest miner works on an honest consumer's task meanwhile."""

from __future__ import annotations

import multiprocessing
import re
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.support.fake_miner import FakeMiner
from tests.support.processes import Command

ALICE, BOB = ("alice", "key-of-alice"), ("bob", "key-of-bob")
MINER_KEY = "key-of-the-miners"
PATIENCE = 60.0


@dataclass(frozen=True)
class Attack:
    """What a stranger does. ``run`` returns how it was answered, which ``answer`` must match, a regular expression."""

    name: str
    who: str
    run: Callable[[World], str]
    answer: str


@dataclass
class Outcome:
    """What an attack did.

    Attributes:
        answer: How it was answered.
        seconds: Until then.
        memory: MiB that the sequencer took more than before, at most.
        pause: The longest heartbeat of the honest miner, in seconds.
        noticed: What the honest ones noticed: nothing, if it went well.
    """

    answer: str
    seconds: float
    memory: float
    pause: float
    noticed: list[str] = field(default_factory=list)


class World:
    """A sequencer with keys, unless ``is_open``. ``close`` it."""

    def __init__(self, folder: Path, *, is_open: bool = False) -> None:
        keys: list[str] = []
        if not is_open:
            keys = ["--api-key", "#".join(ALICE), "--api-key", "#".join(BOB), "--miner-key", MINER_KEY]
        self.command = Command("sequencer", "--data", folder / "data", "--port", 0, *keys, cwd=folder, home=folder)
        self.url = self.command.first_line().rpartition(" ")[2]
        parts = urlsplit(self.url)
        self.address = (str(parts.hostname), int(parts.port or 0))
        self.miner = FakeMiner(self.url, "txt2vid.1", key=None if is_open else MINER_KEY)
        self.task_id = self.create()
        self.task = self.miner.take()
        # A process of its own: beside the attack it would measure the attacker, too.
        self.heart, other = multiprocessing.Pipe()
        self._beating = multiprocessing.get_context("fork").Process(target=self._beat, args=(other,), daemon=True)
        self._beating.start()

    def close(self) -> None:
        self._beating.kill()
        self._beating.join()
        self.command.close()

    def _beat(self, commands: Connection) -> None:
        """Between two commands let the miner's heart beat, and send the longest pause and what went wrong."""
        while True:
            commands.recv()
            longest, noticed = 0.0, []
            while not commands.poll(0.02):
                begun = time.monotonic()
                try:
                    answer = self.miner.beat(self.task)
                    if answer != {"lease_seconds": 30}:
                        noticed.append(f"a heartbeat was answered {answer}")
                except (OSError, AssertionError) as error:
                    noticed.append(f"a heartbeat failed: {type(error).__name__} {error}"[:200])
                longest = max(longest, time.monotonic() - begun)
            commands.recv()
            commands.send((longest, noticed))

    def post(self, endpoint: str, **body: object) -> requests.Response:
        """As Alice."""
        who = {"consumer_id": ALICE[0], "api_key": ALICE[1]}
        return requests.post(f"{self.url}/{endpoint}", json=who | body, timeout=PATIENCE)

    def create(self) -> str:
        """A task of Alice's."""
        answer = self.post(
            "task_create", task_type="txt2vid", workflow_id="1", job_id=f"job-{time.monotonic_ns()}",
            task_details={"parameters": {"prompt": "a rabbit"}},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def raw(self, *pieces: bytes | Iterable[bytes], patience: float = 20.0) -> str:
        """Send bytes over a connection of their own; returns the answer's status, "closed", or "nothing"."""
        with socket.create_connection(self.address, timeout=patience) as connection:
            with suppress(OSError):  # It may answer, and close, before it has all.
                for piece in pieces:
                    for part in [piece] if isinstance(piece, bytes) else piece:
                        connection.sendall(part)
            return answer_of(connection)

    def measure(self, attack: Attack) -> Outcome:
        """Run an attack while the honest miner's heart beats."""
        before = memory(self.command.process.pid, "VmRSS")
        reset_peak(self.command.process.pid)
        self.heart.send(None)
        begun = time.monotonic()
        try:
            answer = attack.run(self)
        finally:
            seconds = time.monotonic() - begun
            self.heart.send(None)
            pause, noticed = self.heart.recv()
        status = self.post("task_result_query", task_id=self.task_id)
        if status.status_code != 200 or status.json()["status"] != "running":
            noticed.append(f"the task is {status.text[:100]}")
        if self.command.process.poll() is not None:
            noticed.append("the sequencer ended")
        return Outcome(answer, seconds, memory(self.command.process.pid, "VmHWM") - before, pause, noticed)


def memory(pid: int, name: str) -> float:
    """MiB of a process: "VmRSS" for now, "VmHWM" for the peak."""
    (found,) = re.findall(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found) / 1024


def reset_peak(pid: int) -> None:
    """Its peak counts from here."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def answer_of(connection: socket.socket) -> str:
    """The status of the answer that comes; "closed" or "nothing" where none does."""
    head = b""
    try:
        while b"\r\n" not in head:
            piece = connection.recv(4096)
            if not piece:
                return "closed"
            head += piece
    except TimeoutError:
        return "nothing"
    except OSError:
        return "closed"
    return head.split(b" ", 2)[1].decode()


def head(
    path: str, *fields: str, method: str = "POST", length: int | None = None, kind: str = "application/json"
) -> bytes:
    """The head of a request; without a length it is chunked."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [f"{method} /{path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", size, *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)
