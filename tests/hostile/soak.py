"""``python -m tests.hostile.soak [MINUTES] [WORD...]``: honest consumers and miners among hostile ones, for a while.

Each word is a kind of attacker (``KINDS``); without a word all of them attack, with "none" nobody does. Prints what
became of the honest tasks, the sequencer's memory, and how long honest queries took; exits with 1 unless every honest
task finished, with the right bytes and once, memory stays flat, and 99 of 100 queries take less than 100 ms.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tests.support.pictures import noise
from tests.support.processes import ROOT, Command

CONSUMERS, MINERS, HOSTILE = 20, 10, 5
LONGEST_QUERY = 0.1
STEEPEST = 2.0
"""MiB a minute that memory may grow, once it is warm."""

MOST_GROWTH = 60.0
"""MiB that it may grow after the first half."""

PATIENCE = 90.0
"""Seconds that the last honest tasks may take at the end."""

WORKFLOW = {
    "task_type": "picture",
    "workflow_id": "1",
    "parameters": [{"name": "prompt", "kind": "text"}, {"name": "image", "kind": "image", "default": ""}],
}


def key_of(name: str) -> str:
    return f"key-of-{name}"


def result_of(prompt: str, image: bytes) -> bytes:
    """What an honest miner makes of a task."""
    return noise(int(hashlib.sha256(prompt.encode() + image).hexdigest()[:8], 16), 16)


@dataclass
class Figures:
    """What became of it. ``wrong`` are sentences, each of which is one too many; ``memory`` is in MiB, by minutes."""

    created: int = 0
    finished: int = 0
    canceled: int = 0
    attacks: Counter[str] = field(default_factory=Counter)
    queries: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """Seconds."""
        return statistics.quantiles(self.queries, n=100)[98] if len(self.queries) > 1 else 0.0

    def problems(self) -> list[str]:
        """All that is not as it should be."""
        found = list(self.wrong)
        if self.finished + self.canceled != self.created or not self.finished:
            found.append(f"{self.created} tasks were created, {self.finished} finished and {self.canceled} canceled")
        if self.p99 >= LONGEST_QUERY:
            found.append(f"of 100 queries one took {self.p99 * 1000:.0f} ms")
        slope, growth = self.trend()
        if growth > MOST_GROWTH or (self.memory[-1][0] >= 5 and slope > STEEPEST):
            found.append(f"memory grew by {growth:.0f} MiB, {slope:.1f} MiB a minute")
        return found

    def trend(self) -> tuple[float, float]:
        """MiB a minute, and MiB in all, from the middle to the end."""
        late = self.memory[len(self.memory) // 2 :]
        if len(late) < 3:
            return 0.0, 0.0
        return statistics.linear_regression(*zip(*late, strict=True)).slope, late[-1][1] - late[0][1]


class Person:
    """Somebody with a key, and what he posts."""

    def __init__(self, session: aiohttp.ClientSession, url: str, name: str, dice: random.Random) -> None:
        self.session, self.url, self.name, self.dice = session, url, name, dice
        self.instance = secrets.token_hex(8)

    async def post(self, endpoint: str, **body: Any) -> tuple[int, dict[str, Any]]:
        if endpoint.startswith("miner_"):
            who = {"miner_key": key_of(self.name), "erc20_address": self.name, "instance": self.instance}
        else:
            who = {"consumer_id": self.name, "api_key": key_of(self.name)}
        async with self.session.post(f"{self.url}/{endpoint}", json=who | body) as answer:
            return answer.status, await answer.json(content_type=None)

    async def create(self, prompt: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
        return await self.post(
            "task_create", task_type="picture", workflow_id="1", job_id=secrets.token_hex(16),
            task_details={"parameters": {"prompt": prompt} | parameters},
        )  # fmt: skip

    async def announce(self, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        _, told = await self.post("image_upload", sha256=digest, size=len(content), content_type="image/png")
        return told

    async def take(self, seconds: float = 5.0) -> dict[str, Any] | None:
        """A task, for a miner; None where there is none. Registers where that is needed."""
        _, task = await self.post("miner_request", workflow_ids=[], wait_seconds=seconds)
        if task.get("register"):
            await self.post("miner_register", workflows=[WORKFLOW], software={})
        return task if "task_id" in task else None

    async def submit(self, task: dict[str, Any], **body: Any) -> tuple[int, dict[str, Any]]:
        lease = {"task_id": task["task_id"], "lease": task["lease"], "miner_id": self.name}
        return await self.post("miner_submit", **lease | body)


# The honest ones.


async def consume(person: Person, figures: Figures, is_over: Callable[[], bool]) -> None:
    """Create tasks, one after the other, and see to each."""
    while not is_over():
        prompt, image, given = secrets.token_hex(8), b"", {}
        if person.dice.random() < 0.4:
            image = noise(person.dice.randrange(1000), 32)
            told = await person.announce(image)
            if "upload_url" in told:
                async with person.session.put(told["upload_url"], data=image):
                    pass
            if "image" not in told:
                figures.wrong.append(f"an honest image was answered {told}")
                continue
            given = {"image": told["image"]}
        status, created = await person.create(prompt, **given)
        if status != 200:
            figures.wrong.append(f"an honest create was answered {status} {created}"[:200])
            await asyncio.sleep(1)
            continue
        figures.created += 1
        is_canceled = person.dice.random() < 0.1
        if is_canceled:
            await asyncio.sleep(person.dice.random() / 5)
            await person.post("task_cancel", task_id=created["task_id"])
        await follow(person, created["task_id"], result_of(prompt, image), figures, is_canceled)
        await asyncio.sleep(person.dice.random() / 2)


async def follow(person: Person, task_id: str, expected: bytes, figures: Figures, is_canceled: bool) -> None:
    """Query a task until it has ended, and check its result byte for byte."""
    while True:
        begun = time.perf_counter()
        _, task = await person.post("task_result_query", task_id=task_id)
        figures.queries.append(time.perf_counter() - begun)
        if task.get("status") in ("finished", "failed", "canceled"):
            break
        await asyncio.sleep(0.2)
    if task["status"] == "canceled" and is_canceled:
        figures.canceled += 1
    elif task["status"] != "finished":
        figures.wrong.append(f"a task {task['status']}: {task.get('msg')}"[:200])
    else:
        async with person.session.get(task["result"]) as answer:
            if await answer.read() == expected:
                figures.finished += 1
            else:
                figures.wrong.append("a result has other bytes")


async def mine(person: Person, done: Counter[str]) -> None:
    """Take tasks and finish them, until canceled. ``done`` counts those that were taken as new, by task."""
    while True:
        task = await person.take()
        if task is None:
            continue
        image = b""
        for file in task["inputs"].values():
            async with person.session.get(file["url"]) as answer:
                image = await answer.read()
        lease = {"task_id": task["task_id"], "lease": task["lease"]}
        await person.post("miner_heartbeat", **lease, progress={"value": 1, "maximum": 2})
        content = result_of(str(task["task_details"]["parameters"]["prompt"]), image)
        async with person.session.put(task["credential"]["upload_url"], data=content) as answer:
            uploaded = await answer.json()
        if "result" in uploaded:
            _, told = await person.submit(task, success=True, result=uploaded["result"])
            done[task["task_id"]] += told.get("msg") == "thank you"


# The hostile ones. Each does one thing for a moment.


async def flood(person: Person) -> None:
    for _ in range(50):
        await person.create("a flood")


async def bomb(person: Person) -> None:
    packed = gzip.compress(bytes(20_000_000))
    deep = b'{"api_key": "%s", "task_details": %s' % (key_of(person.name).encode(), b"[" * 300_000)
    for body, headers in ((packed, {"Content-Encoding": "gzip"}), (deep, {}), (b"[" * 900_000, {})):
        headers |= {"Content-Type": "application/json"}
        async with person.session.post(f"{person.url}/task_create", data=body, headers=headers):
            pass


async def cut(person: Person) -> None:
    for _ in range(5):
        content = secrets.token_bytes(2_000_000)
        told = await person.announce(content)
        path = urlsplit(told.get("upload_url", f"{person.url}/none")).path
        await hold(
            person, f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n".encode() + content[:500_000]
        )


async def announce(person: Person) -> None:
    for _ in range(100):
        await person.announce(secrets.token_bytes(32))


async def guess(person: Person) -> None:
    wrong = [person.post("task_result_query", task_id="x", api_key=secrets.token_hex(8)) for _ in range(20)]
    await asyncio.wait_for(asyncio.gather(*wrong, return_exceptions=True), 10)


async def hang(person: Person) -> None:
    await asyncio.gather(*(hold(person, b"POST /task_create HTTP/1.1\r\n", 5) for _ in range(100)))


async def hold(person: Person, first: bytes, seconds: float = 0.1) -> None:
    """A connection that sends a beginning, and is cut after a while."""
    parts = urlsplit(person.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(first)
    await asyncio.sleep(seconds)
    writer.transport.abort()


async def unreachable(person: Person) -> None:
    for host in ("127.1", "169.254.169.254", "no.such.host.example", "10.255.255.1"):
        await person.create("an image that nobody has", image=f"http://{host}/{secrets.token_hex(4)}.png")


async def silent(person: Person) -> None:
    for _ in range(3):
        await person.take(1)


async def give_back(person: Person) -> None:
    if task := await person.take(1):
        await person.submit(task, success=False, give_back=person.dice.choice(["lost", "stopping"]), msg="no")


async def fail(person: Person) -> None:
    if task := await person.take(1):
        await person.submit(task, success=False, msg="it failed \x1b[31m at once" * 100)


async def garbage(person: Person) -> None:
    if task := await person.take(1):
        lease = {"task_id": task["task_id"], "lease": task["lease"]}
        for progress in (
            {"value": -1, "maximum": 0},
            {"value": "NaN", "maximum": []},
            {"value": 10**400, "maximum": 1},
        ):
            await person.post("miner_heartbeat", **lease, progress=progress)
        async with person.session.put(task["credential"]["upload_url"], data=secrets.token_bytes(5000)):
            pass
        await person.submit(task, success=True, result="../../sequencer.sqlite3")
        await person.submit(task, success=False, give_back="lost")


async def many(person: Person) -> None:
    offers = [{"task_type": f"t{secrets.token_hex(40)}", "workflow_id": "x" * 90, "parameters": []} for _ in range(500)]
    await person.post("miner_register", workflows=offers, software={"device": "x" * 9000})
    await person.post("task_create", task_type="none", job_id="j", task_details={"parameters": {}})


Attack = Callable[[Person], Awaitable[None]]
OF_CONSUMERS: dict[str, Attack] = {
    attack.__name__: attack for attack in (flood, bomb, cut, announce, guess, hang, unreachable)
}
OF_MINERS: dict[str, Attack] = {attack.__name__: attack for attack in (silent, give_back, fail, garbage, many)}
KINDS = (*OF_CONSUMERS, *OF_MINERS)


async def attack_forever(person: Person, attacks: list[Attack], done: Counter[str]) -> None:
    while attacks:
        attack = person.dice.choice(attacks)
        with suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
            await attack(person)
        done[attack.__name__] += 1
        await asyncio.sleep(0.01)


async def all_attack(url: str, words: list[str]) -> None:
    """In a process of its own, until it is killed; prints what was done, once a second."""
    done: Counter[str] = Counter()
    async with new_session() as session:
        for number in range(HOSTILE):
            for kind, known in (("eve", OF_CONSUMERS), ("mallory", OF_MINERS)):
                person = Person(session, url, f"{kind}-{number}", random.Random(number))
                chosen = [attack for name, attack in known.items() if name in words]
                _RUNNING.add(asyncio.create_task(attack_forever(person, chosen, done)))
        while True:
            await asyncio.sleep(1)
            print(json.dumps(done), flush=True)


_RUNNING: set[asyncio.Task[None]] = set()


def new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60), raise_for_status=False
    )


# All of it.


def soak(minutes: float, folder: Path, words: list[str], say: Callable[[str], object] = lambda line: None) -> Figures:
    """Run it. ``words`` are the kinds of attackers."""
    keys: list[object] = []
    for name in (*(f"alice-{n}" for n in range(CONSUMERS)), *(f"eve-{n}" for n in range(HOSTILE))):
        keys += ["--api-key", f"{name}#{key_of(name)}"]
    for name in (*(f"box-{n}" for n in range(MINERS)), *(f"mallory-{n}" for n in range(HOSTILE))):
        keys += ["--miner-key", f"{name}={key_of(name)}"]
    command = Command("sequencer", "--data", folder / "data", "--port", 0, *keys, cwd=folder, home=folder)
    try:
        url = command.first_line().rpartition(" ")[2]
        attacking = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.soak", "--attack", url, *words],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            figures = asyncio.run(_all(minutes, url, partial(_memory, command.process.pid), say))
        finally:
            attacking.kill()
            told, _ = attacking.communicate()
    finally:
        command.close()
    figures.attacks = Counter(json.loads(lines[-1]) if (lines := told.splitlines()) else {})
    figures.wrong += [f"logged: {line}"[:200] for line in re.findall(r"\w*Error: .*", command.errors())]
    return figures


def _memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) / 1024


async def _all(minutes: float, url: str, memory: Callable[[], float], say: Callable[[str], object]) -> Figures:
    figures, done, begun = Figures(), Counter[str](), time.monotonic()
    async with new_session() as session:
        miners = [Person(session, url, f"box-{n}", random.Random(n)) for n in range(MINERS)]
        for person in miners:
            await person.post("miner_register", workflows=[WORKFLOW], software={})
        mining = [asyncio.create_task(mine(person, done)) for person in miners]

        async def watch() -> None:
            while True:
                minute = (time.monotonic() - begun) / 60
                figures.memory.append((minute, memory()))
                say(
                    f"{minute:5.1f} min  {figures.created:6} created {figures.finished:6} finished "
                    f"{figures.canceled:5} canceled {len(figures.wrong):4} wrong  {figures.memory[-1][1]:6.0f} MiB  "
                    f"p99 {figures.p99 * 1000:4.0f} ms"
                )
                await asyncio.sleep(max(1.0, minutes * 60 / 60))

        watching = asyncio.create_task(watch())
        dice = [random.Random(-n) for n in range(CONSUMERS)]
        people = [Person(session, url, f"alice-{n}", dice[n]) for n in range(CONSUMERS)]
        end = begun + minutes * 60
        consuming = [asyncio.create_task(consume(each, figures, lambda: time.monotonic() > end)) for each in people]
        _, late = await asyncio.wait(consuming, timeout=minutes * 60 + PATIENCE)
        watching.cancel()
        for task in (*late, *mining):
            task.cancel()
        ended = await asyncio.gather(*consuming, *mining, watching, return_exceptions=True)
    figures.wrong += [f"{len(late)} honest consumers still wait for a task"] if late else []
    for error in ended:
        if isinstance(error, Exception):
            figures.wrong.append(f"somebody honest met {type(error).__name__}: {error}"[:200])
    figures.wrong += [f"a task finished {count} times" for count in done.values() if count > 1]
    return figures


def main(arguments: list[str]) -> int:
    """Run it and print the figures."""
    if arguments[:1] == ["--attack"]:
        asyncio.run(all_attack(arguments[1], arguments[2:]))
    minutes = float(arguments.pop(0)) if arguments and arguments[0].replace(".", "").isdigit() else 60.0
    unknown = set(arguments) - {*KINDS, "none"}
    if unknown:
        print(f"{', '.join(unknown)} is none of {', '.join(KINDS)}, none")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(minutes, Path(folder), arguments or list(KINDS), print)
    print("attacks:", ", ".join(f"{name} {count}" for name, count in figures.attacks.most_common() if count))
    slope, growth = figures.trend()
    print(f"memory: {slope:+.2f} MiB a minute, {growth:+.0f} MiB from the middle to the end")
    print(f"{len(figures.queries)} honest queries, p99 {figures.p99 * 1000:.0f} ms")
    print(f"{figures.created} honest tasks: {figures.finished} finished, {figures.canceled} canceled on request")
    for problem, count in Counter(figures.problems()).most_common():
        print(f"! {count} × {problem}")
    return int(bool(figures.problems()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
