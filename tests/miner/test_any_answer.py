"""Whatever a sequencer answers, its miner goes on, and finishes the next task that makes sense."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_comfyui import FakeComfyUI, picture, until, workflow
from tests.support.fake_sequencer import DROP, Answer, FakeSequencer, Seen
from tests.support.farm import QUICK
from xalora_client import ConfigurationError
from xalora_client.miner import sequencer_api
from xalora_client.miner.miner import Miner

REGISTERED = {"lease_seconds": 30, "long_poll_seconds": 0}
IDLE = Answer({"msg": "no task at the moment"})
FIELD = "@@"

VALUES = {
    "4,000 digits": "9" * 4000,
    "5,000 digits": "9" * 5000,
    "1e400": "1e400",
    "NaN": "NaN",
    "negative": "-1e300",
    "small": "1e-300",
    "true": "true",
    "null": "null",
    "a word": '"word"',
    "an empty text": '""',
    "a list": "[[1], 2]",
    "an object": '{"a": {"b": null}}',
    "half a surrogate": r'"\ud800x"',
    "control characters": r'"a\r\nX: y\u0000\u007f\u202e"',
    "a long text": json.dumps("x" * 2**20),
    "900 levels": "[" * 900 + "]" * 900,
    "900 objects": '{"a":' * 900 + "1" + "}" * 900,
    "a million values": "[" + "0," * 10**6 + "0]",
    "a path": '"../../../etc/passwd"',
}

ANSWERS: dict[str, bytes | Answer] = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"yes"',
    "an empty object": b"{}",
    "half": b'{"task_id": "t',
    "no JSON": b"<html>Please log in</html>",
    "no text": b"\xff\xfe\x00",
    "levels without end": b"[" * 10**6,
    "objects without end": b'{"a":' * 10**5,
    "gzip that was not asked for": Answer(b"\x1f\x8b nothing", headers={"Content-Encoding": "gzip"}),
    "cut": Answer(b"{", headers={"Content-Length": "10"}),
    "dropped": DROP,
    **{str(status): Answer({"message": "go away"}, status) for status in (204, 301, 307, 429, 500, 502, 503, 599)},
    "elsewhere": Answer(b"", 302, {"Location": "http://127.0.0.1:9/"}),
    "later": Answer(b"", 503, {"Retry-After": "0.01"}),
    "nested words": Answer(b'{"message": ' + b"[" * 900 + b"]" * 900 + b"}", 500),
}


class Sequencer(FakeSequencer):
    """Gives tasks with one image each. ``done`` are the ids of those that have a result."""

    def __init__(self) -> None:
        super().__init__()
        self.submits: list[dict[str, Any]] = []
        self.script("miner_workflows", Answer({}))
        self.good("miner_register", "miner_heartbeat", "miner_submit", "upload", "input")
        self.script("miner_request", IDLE)
        self._numbers = itertools.count()

    def good(self, *endpoints: str, first: Answer | None = None) -> None:
        """Answer as a sequencer does, but for the first time."""
        answers = {
            "miner_register": Answer(REGISTERED),
            "miner_heartbeat": Answer({"lease_seconds": 30}),
            "miner_submit": self._submit,
            "upload": Answer({"result": "0.png"}),
            "input": Answer(picture("the input")),
        }
        for endpoint in endpoints:
            self.script(endpoint, *([first] if first else []), answers[endpoint])

    def _submit(self, seen: Seen) -> Answer:
        self.submits.append(seen.body)
        return Answer({"msg": "thank you"})

    def task(self, task_id: str = "") -> dict[str, Any]:
        """What a request is answered with."""
        return {
            "task_id": task_id or f"task-{next(self._numbers)}",
            "task_type": "upscaler",
            "workflow_id": None,
            "task_details": {"parameters": {"prompt": "a fox", "image": "image/png, 9 bytes"}},
            "inputs": {"image": {"url": "http://elsewhere.example/input", "content_type": "image/png", "size": 9}},
            "prompt_id": str(uuid.uuid4()),
            "lease": "secret",
            "seconds_left": None,
            "credential": {"upload_url": "http://elsewhere.example/upload"},
            "attempt": 1,
            "lease_seconds": 30,
            "register": False,
        }

    def is_done(self, task_id: str) -> bool:
        return any(each["task_id"] == task_id and each["success"] is True for each in list(self.submits))


class World:
    """A miner of a hostile sequencer."""

    def __init__(self, sequencer: Sequencer, comfyui: FakeComfyUI, **options: Any) -> None:
        self.sequencer, self.comfyui = sequencer, comfyui
        self.miner = Miner("box", comfyui.url, sequencer.url, timeouts=QUICK, **options)
        self.running = asyncio.create_task(self.miner.run())

    async def finishes(self, task_id: str, *before: Answer) -> None:
        """The miner gets these answers, and then a task, which it finishes."""
        given = asyncio.Event()
        loop = asyncio.get_running_loop()

        def give(_: Seen) -> Answer:
            loop.call_soon_threadsafe(given.set)
            return Answer(self.sequencer.task(task_id))

        self.sequencer.script("miner_request", *before, give, IDLE)
        await until(lambda: self.sequencer.is_done(task_id) or self.running.done())
        assert not self.running.done(), self.running.exception()
        assert given.is_set()


def among_strangers(folder: Path, scenario: Callable[[World], Awaitable[None]], **options: Any) -> None:
    """Run it with a miner that has the workflow ``upscaler``, with an image."""
    (folder / "upscaler.json").write_text(json.dumps(workflow(image=True)))

    async def run() -> None:
        comfyui = await FakeComfyUI().start()
        with closing(Sequencer()) as sequencer:
            if "workflows" in options:  # Those that it offers at first.
                sequencer.script("miner_workflows", Answer({"workflows": {"upscaler.json": workflow(image=True)}}))
            world = World(sequencer, comfyui, **{"workflows": folder} | options)
            try:
                await scenario(world)
            finally:
                world.running.cancel()
                await asyncio.gather(world.running, return_exceptions=True)
                await comfyui.stop()

    asyncio.run(run())


def with_field(answer: dict[str, Any], path: str, value: str) -> Answer:
    """The answer with another value at that path, which is JSON or nearly so."""
    changed = json.loads(json.dumps(answer))
    *parts, last = path.split(".")
    inner = changed
    for part in parts:
        inner = inner[part]
    inner[last] = FIELD
    return Answer(json.dumps(changed).replace(json.dumps(FIELD), value).encode())


FIELDS = [
    "task_id", "task_type", "workflow_id", "task_details", "task_details.parameters", "task_details.parameters.prompt",
    "task_details.parameters.steps", "task_details.parameters.image", "task_details.parameters.more", "inputs",
    "inputs.image", "inputs.image.url", "inputs.image.content_type", "inputs.image.size", "inputs.prompt", "prompt_id",
    "lease", "seconds_left", "credential", "credential.upload_url", "attempt", "lease_seconds", "register",
]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_any_value_of_a_task(tmp_path, field):
    async def scenario(world: World) -> None:
        for number, value in enumerate(VALUES.values()):
            await world.finishes(f"good-{number}", with_field(world.sequencer.task(), field, value))

    among_strangers(tmp_path, scenario)


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        ("miner_register", "lease_seconds"), ("miner_register", "long_poll_seconds"),
        ("miner_heartbeat", "lease_seconds"), ("miner_heartbeat", "stop"),
        ("miner_submit", "msg"), ("upload", "result"),
    ],
)  # fmt: skip
def test_any_value_of_another_answer(tmp_path, endpoint, field):
    async def scenario(world: World) -> None:
        for number, value in enumerate(VALUES.values()):
            world.sequencer.good(endpoint, first=with_field(REGISTERED, field, value))
            first = {"register": True} if endpoint == "miner_register" else world.sequencer.task()
            await world.finishes(f"good-{number}", Answer(first))

    among_strangers(tmp_path, scenario)


@pytest.mark.parametrize(
    "endpoint", ["miner_register", "miner_request", "miner_heartbeat", "miner_submit", "upload", "input"]
)
def test_any_answer(tmp_path, endpoint):
    """Also to the first registration: only what says that the setup is wrong ends a miner."""

    async def scenario(world: World) -> None:
        for number, content in enumerate(ANSWERS.values()):
            bad = content if isinstance(content, Answer) else Answer(content)
            first = Answer({"register": True}) if endpoint == "miner_register" else Answer(world.sequencer.task())
            if endpoint == "miner_request":
                first = bad
            else:
                world.sequencer.good(endpoint, first=bad)
            await world.finishes(f"good-{number}", first)

    among_strangers(tmp_path, scenario)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422])
def test_a_refusal_ends_a_miner_only_at_its_start(tmp_path, status):
    async def scenario(world: World) -> None:
        await world.finishes("good-0")
        world.sequencer.good("miner_register", first=Answer({"message": "who are you"}, status))
        await world.finishes("good-1", Answer({"register": True}))
        world.sequencer.script("miner_register", Answer({"message": "who are you"}, status))
        again = Miner("again", world.comfyui.url, world.sequencer.url, workflows=tmp_path, timeouts=QUICK)
        with pytest.raises(ConfigurationError):
            await asyncio.wait_for(again.run(), 20)

    among_strangers(tmp_path, scenario)


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_input_that_cannot_be_had_ends_the_task(tmp_path, status):
    async def scenario(world: World) -> None:
        world.sequencer.script("input", Answer({"message": "not now"}, status))
        world.sequencer.script("miner_request", Answer(world.sequencer.task("bad")), IDLE)
        await until(lambda: world.sequencer.submits)
        (submit,) = world.sequencer.submits
        assert (submit["task_id"], submit["success"], submit["give_back"]) == ("bad", False, "unable")
        assert "image cannot be had from the sequencer" in submit["msg"]
        assert submit["error"]["message"]
        assert world.sequencer.count("input") == (1 if status == 404 else 6)
        assert world.comfyui.posted == []
        world.sequencer.good("input")
        await world.finishes("good")

    among_strangers(tmp_path, scenario)


@pytest.mark.parametrize(
    "name",
    ["example.png", "secret.png [output]", "../../../etc/passwd", "/etc/passwd", "C:\\secret.png", "a/b.png [temp]",
     "http://127.0.0.1/secret.png", "file:///etc/passwd", "data:image/png;base64,AAAA", "", None, 5, ["a.png"]],
)  # fmt: skip
def test_no_image_is_taken_by_its_name(tmp_path, name):
    async def scenario(world: World) -> None:
        task = world.sequencer.task("bad") | {"inputs": {}}
        task["task_details"]["parameters"]["image"] = name
        world.sequencer.script("miner_request", Answer(task), IDLE)
        await until(lambda: world.sequencer.submits)
        assert world.sequencer.submits[0]["success"] is False
        assert "must be an image that the sequencer has" in world.sequencer.submits[0]["msg"]
        assert world.comfyui.posted == world.comfyui.uploads == []
        await world.finishes("good")

    among_strangers(tmp_path, scenario)


@pytest.mark.parametrize("name", ["a.png", "../../x.json", "txt2img.json\r\n", "\ud800.json", "txt2img.json", ""])
def test_any_workflow_file_of_a_sequencer_that_is_trusted(tmp_path, name):
    """Its good files are run, whatever the others are."""
    values = [*VALUES.values(), '{"1": {"class_type": "SimulatedSampler", "inputs": {"steps": [[]], "text": {}}}}']

    async def scenario(world: World) -> None:
        await world.finishes("good")
        for number, value in enumerate(values):
            good = {"upscaler.json": workflow(image=True), name: None}
            files = with_field({"workflows": good}, "workflows", json.dumps(good).replace("null", value))
            again = Answer({"workflows": {"upscaler.json": workflow(image=True)}})
            world.sequencer.script("miner_workflows", with_field({}, "workflows", value), files, again)
            await world.finishes(f"good-{number}", Answer({"register": True}))

    among_strangers(tmp_path, scenario, workflows=None, accepts_workflows=True)


def test_an_upload_that_is_hardly_answered_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(sequencer_api, "_UPLOAD_SILENCE", -14.8)  # The transport adds 15 s.

    async def scenario(world: World) -> None:
        with world.sequencer.silent("upload"):
            world.sequencer.script("miner_request", Answer(world.sequencer.task("bad")), IDLE)
            await until(lambda: world.sequencer.submits)
            assert world.sequencer.submits[0]["give_back"] == "lost"
            assert "cannot be delivered" in world.sequencer.submits[0]["msg"]
            assert world.sequencer.count("upload") == 3
        world.sequencer.good("upload")
        await world.finishes("good")

    among_strangers(tmp_path, scenario)


def test_a_sequencer_cannot_make_it_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(sequencer_api, "_LONGEST_PAUSE", 0.01)

    async def scenario(world: World) -> None:
        world.sequencer.good("miner_register", first=Answer(b"", 503, {"Retry-After": "999999999"}))
        await world.finishes("good-0", Answer({"register": True}), Answer(b"", 429, {"Retry-After": "999999999"}))
        world.sequencer.good("input", first=Answer(b"", 503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}))
        await world.finishes("good-1")

    among_strangers(tmp_path, scenario)
