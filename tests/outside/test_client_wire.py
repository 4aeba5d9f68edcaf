"""What the clients send, byte for byte, alike in both. Ids are replaced, headers about the connection left out."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_server import RawServer, answer
from tests.support.snapshot import Snapshot
from xalora_client import (
    AsyncClient,
    Client,
    CustomTask,
    FluxLoraTask,
    InputImage,
    Text2VideoTask,
    UpscalerTask,
    WorkflowTaskResult,
    __version__,
)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAFElEQVR4nGPkOiHHgA0wYRWlkwQAjsYA/Plq4M8AAAAASUVORK5CYII="
)
VIDEO = Text2VideoTask("ein Häschen", width=64, height=48, length=5, seed=7, workflow_id="1", timeout_seconds=60)
Answers = dict[str, list[bytes]]


def told(code: int = 200, /, **body: Any) -> bytes:
    return answer(json.dumps(body).encode(), f"{code} Said", content_type="application/json", connection="close")


def finished(server: RawServer) -> WorkflowTaskResult:
    return WorkflowTaskResult("t1", "finished", media_url=f"{server.url}/media/a.png")


CREATED = told(task_id="t1", msg="ok")
LONG_POLL = {"revision": 0, "long_poll_seconds": 25}
ANSWERS: Answers = {
    "POST /task_create": [CREATED],
    "POST /task_result_query": [told(status="waiting")],
    "POST /task_cancel": [told(task_id="t1", msg="canceled")],
    "POST /resource_request": [told(miner_id="m1")],
    "GET /": [told(404)],
    "GET /media/a.png": [answer(PNG, content_type="image/png", connection="close")],
}
UPLOAD = {"image": "https://gpu.example/images/token-1", "upload_url": "https://gpu.example/image_upload/token-2"}
"""A sequencer behind a proxy: the upload goes to the address that the client knows."""
UPLOADS: Answers = {
    "GET /": [told(service="Xalora sequencer", image_upload=True)],
    "POST /image_upload": [told(**UPLOAD)],
    "PUT /image_upload/token-2": [told(image=UPLOAD["image"])],
}
CALLS: dict[str, tuple[Callable[[Any, RawServer], Any], Answers]] = {
    "create, Text2VideoTask": (lambda client, _: client.execute_workflow(VIDEO), {}),
    "create, FluxLoraTask": (
        lambda client, _: client.execute_workflow(FluxLoraTask("a gecko", "gecko.safetensors", guidance=3.5)),
        {},
    ),
    "create, UpscalerTask": (
        lambda client, _: client.execute_workflow(UpscalerTask("https://example.com/a.png", workflow_id="2")),
        {},
    ),
    "create, CustomTask of another consumer": (
        lambda client, _: client.execute_workflow(
            CustomTask("img2img", {"a": [1, None, {"ü": 1.5}]}, consumer_id="c2", api_key="k2", job_id_prefix="batch")
        ),
        {},
    ),
    "query": (lambda client, _: client.query_task_result("t1"), {}),
    "cancel": (lambda client, _: client.cancel_task("t1"), {}),
    "resource request": (lambda client, _: client.resource_request("c2", "1", "txt2vid"), {}),
    "long-polled queries": (
        lambda client, _: client.execute_workflow_and_wait_for_result(VIDEO),
        {
            "POST /task_create": [told(task_id="t1", msg="ok", **LONG_POLL)],
            "POST /task_result_query": [
                told(status="running", **LONG_POLL | {"revision": 3}),
                told(status="finished", result="https://media.example/a.mp4"),
            ],
        },
    ),
    "image inside the create": (lambda client, _: client.execute_workflow(UpscalerTask(picture())), {}),
    "image upload": (lambda client, _: client.execute_workflow(UpscalerTask(picture())), UPLOADS),
    "image upload, of which some is there": (
        lambda client, _: client.execute_workflow(UpscalerTask(picture())),
        UPLOADS | {"POST /image_upload": [told(**UPLOAD, received=40)]},
    ),
    "download, which breaks off": (
        lambda client, server: client.download(finished(server)),
        {
            "GET /media/a.png": [
                answer(PNG, etag='"v1"', connection="close")[:-30],
                answer(
                    PNG[-30:], "206 Partial Content", etag='"v1"', connection="close",
                    content_range=f"bytes {len(PNG) - 30}-{len(PNG) - 1}/{len(PNG)}",
                ),
            ]
        },
    ),
}  # fmt: skip


def picture() -> InputImage:
    return InputImage.from_bytes(PNG, "image/png")


@pytest.fixture
def server() -> Iterator[Callable[[Answers], RawServer]]:
    """A function that starts a server with these answers to each request, the last of them again and again."""
    started: list[RawServer] = []

    def start(answers: Answers) -> RawServer:
        def serve(request: bytes) -> Iterator[bytes]:
            method, target, _ = request.split(b"\r\n")[0].decode().split(" ")
            known = left[f"{method} {target}"]
            yield known.pop(0) if len(known) > 1 else known[0]

        left = {name: list(each) for name, each in answers.items()}
        started.append(RawServer(serve))
        return started[-1]

    yield start
    for each in started:
        each.close()


def call(kind: str, url: str, home: Path, action: Callable[[Any], Any]) -> None:
    """Do it with one of the clients."""
    settings: dict[str, Any] = {"api_key": "consumer-1#secret-key", "workflow_url": url, "home": home}
    if kind == "blocking":
        with Client(**settings) as client:
            action(client)
        return

    async def main() -> None:
        async with AsyncClient(**settings) as client:
            await action(client)

    asyncio.run(main())


def readable(request: bytes) -> dict[str, Any]:
    """A request as the snapshot has it."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    headers = {name.lower(): value for name, value in sorted(headers.items(), key=lambda each: each[0].lower())}
    assert headers.get("content-length", "0") == str(len(body))
    for name in ("connection", "content-length", "host"):
        headers.pop(name, None)
    headers["user-agent"] = headers["user-agent"].replace(__version__, "<version>")
    said: Any = f"<{len(body)} bytes>"
    if headers.get("content-type") == "application/json":
        said = json.loads(body)
        assert json.dumps(said, ensure_ascii=False).encode() == body
        if "job_id" in said:
            said["job_id"] = re.sub(r"-[0-9a-f]{10}$", "-<10 hex>", said["job_id"])
    return {"request": first, "headers": headers} | ({"body": said} if body else {})


@pytest.mark.parametrize("kind", ["blocking", "event loop"])
@pytest.mark.parametrize("name", CALLS)
def test_requests_are_sent_as_ever(
    server: Callable[[Answers], RawServer], home: Path, snapshot: Snapshot, kind: str, name: str
) -> None:
    action, answers = CALLS[name]
    at = server(ANSWERS | answers)
    call(kind, at.url, home, lambda client: action(client, at))
    snapshot.check(name, [readable(request) for request in at.requests], ordered=True)
