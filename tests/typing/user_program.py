"""A user's program over the facade. Nothing runs it: mypy reads it, against the installed wheel.

``assert_type`` fails where a type is another, and where it is Any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from typing_extensions import assert_type

from xalora_client import (
    AdvancedOptions,
    APIStatusError,
    AsyncClient,
    AsyncTaskHandle,
    AvailableWorkflow,
    Client,
    ConfigurationError,
    CustomTask,
    DecodeError,
    DownloadError,
    DownloadProgress,
    FluxLoraTask,
    InputImage,
    InvalidParameterError,
    Limits,
    MediaError,
    MediaFile,
    MediaTooLargeError,
    NetworkError,
    OnProgress,
    OnUpdate,
    OnUpload,
    Outcome,
    RateLimitError,
    ResponseError,
    StatusPart,
    TaskCanceledError,
    TaskError,
    TaskFailedError,
    TaskHandle,
    TaskProgress,
    TaskRecord,
    TaskRecords,
    TaskStatus,
    TaskTimeoutError,
    TaskUpdate,
    Text2VideoTask,
    UploadProgress,
    UpscalerTask,
    WorkflowTask,
    WorkflowTaskResult,
    XaloraError,
    __version__,
    encode_data_uri,
    thumbnail,
)
from xalora_client.client.doctor import Check, examine, refuse_comfyui
from xalora_client.config import Setting, home_folder
from xalora_client.config.settings import Settings, change_settings, read_settings, server_arguments
from xalora_client.http.transport import Fetch, Transport
from xalora_client.protocol.parameters import Rule
from xalora_client.protocol.requests import Credentials, Request, Response
from xalora_client.testing import CreatedTask, FakeSequencer
from xalora_client.workflows import Capability, Parameter, WorkflowKey

VERSION: str = __version__


@dataclass
class SketchTask(WorkflowTask):
    """A kind of task of the user's own."""

    subject: str

    @property
    def task_type(self) -> str:
        return "sketch"

    @property
    def task_details(self) -> dict[str, object]:
        return {"parameters": {"subject": self.subject}}


def tasks() -> list[WorkflowTask]:
    """One task of each kind."""
    video = Text2VideoTask("a rabbit", width=848, height=480, length=37, workflow_id="1", timeout_seconds=600)
    assert_type(video.prompt, str)
    assert_type(video.length, int | None)
    assert_type(video.workflow_id, str | None)
    flux = FluxLoraTask("a gecko", "gecko.safetensors", guidance=3.5)
    assert_type(flux.guidance, float | None)
    sketch = SketchTask("a hare", job_id_prefix="sketches")
    assert_type(sketch.subject, str)
    custom = CustomTask("txt2vid", {"prompt": "a rabbit", "length": 5}, workflow_id="1")
    assert_type(custom.task_type, str)
    return [video, UpscalerTask("https://example.com/a.png"), flux, sketch, custom]


def show(update: TaskUpdate) -> None:
    """What a wait reports."""
    assert_type(update.task_id, str)
    assert_type(update.elapsed, float)
    assert_type(update.next_poll, float)
    assert_type(update.result, WorkflowTaskResult | None)
    assert_type(update.last_error, str | None)
    assert_type(update.connected, bool)
    assert_type(update.describe(), str)
    assert_type(StatusPart.line(update.parts()), str)
    assert_type(update.progress, TaskProgress | None)
    if update.progress is not None:
        assert_type(update.progress.value, float)
        assert_type(update.progress.title, str)
        assert_type(update.progress.preview, bytes | None)
        assert_type(update.progress.estimated, bool)


def show_bytes(progress: DownloadProgress) -> None:
    """What a download reports."""
    assert_type(progress.received, int)
    assert_type(progress.total, int | None)


def show_upload(progress: UploadProgress) -> None:
    """What an upload of an image reports."""
    assert_type(progress.name, str)
    assert_type(progress.sent, int)
    assert_type(progress.total, int)


def read(result: WorkflowTaskResult) -> None:
    """What a server's answer has."""
    assert_type(result.task_id, str)
    assert_type(result.status, str)
    assert_type(result.status == TaskStatus.FINISHED, bool)
    assert_type(result.is_final, bool)
    assert_type(result.message, str | None)
    assert_type(result.media_url, str | None)
    assert_type(result.create_timestamp, float | None)
    assert_type(result.workflow_id, str | None)
    # What a miner or a server makes up has no fixed type. It has to be looked at, so it is not Any.
    print(isinstance(result.result, str), isinstance(result.task_details, dict), isinstance(result.extra, dict))


ON_UPDATE: OnUpdate = show
ON_PROGRESS: OnProgress = show_bytes
ON_UPLOAD: OnUpload = show_upload


class Recorded:
    """A transport of the user's own."""

    async def send(self, request: Request, timeout: float) -> Response:
        """Answer from a record."""
        assert_type(request.url, str)
        assert_type(request.content(), bytes)
        return Response(200, {}, b'{"task_id": "t1"}', timeout)

    async def fetch(self, fetch: Fetch) -> Response:
        """Give nothing."""
        assert_type(fetch.url, str)
        return Response(404, {}, b"", 0.0)

    async def close(self) -> None:
        """Nothing is open."""


TRANSPORT: Transport = Recorded()


def with_transports() -> list[Client | AsyncClient]:
    """Both clients over it."""
    options = AdvancedOptions(transport=TRANSPORT)
    return [Client("a#b", advanced=options), AsyncClient("a#b", advanced=options)]


def limits_of_parameters() -> list[str]:
    """What each parameter may be."""
    rules = Text2VideoTask.rules()
    assert_type(rules, list[tuple[str, Rule, bool]])
    assert_type(encode_data_uri(b"", "image/png"), str)
    return [rule.allowed for _, rule, _ in rules]


def look_at(file: MediaFile) -> None:
    """What is known of a downloaded file."""
    assert_type(file.path, Path)
    assert_type(file.sha256, str)
    assert_type(file.size, int)
    assert_type(file.info.width, int)
    assert_type(file.info.frames, int | None)
    assert_type(file.info.fps, float | None)
    assert_type(file.info.has_audio, bool)
    assert_type(file.info.describe({"parameters": {"length": 37}}), str)
    assert_type(file.info.format.mime_type, str)
    if file.info.kind == "video":
        print(file.info.duration)


def upscale(client: Client) -> str:
    """An image of the user's own, uploaded ahead of its task."""
    image = InputImage.from_file(Path("a.png"), "image/png")
    assert_type(image, InputImage)
    assert_type(InputImage.from_bytes(b"", name="the sketch").content(), bytes)
    assert_type(InputImage(lambda: b"", lambda: "0" * 64, "image/png").sha256(), str)
    task = UpscalerTask(image)
    client.upload_images(task, on_upload=ON_UPLOAD)
    return client.execute_workflow(task)


def earlier_tasks() -> dict[str, bytes]:
    """What this machine remembers: pages of tasks, and small pictures of their results."""
    pictures: dict[str, bytes] = {}
    with TaskRecords(home_folder()) as records:
        assert_type(records, TaskRecords)
        found, total = records.tasks(50, state="open", text="rabbit")
        assert_type(found, list[TaskRecord])
        assert_type(total, int)
        older, _ = records.tasks(50, before=found[-1].number)
        for record in older:
            path = records.media_path(record)
            assert_type(path, Path | None)
            if path is not None:
                pictures[record.job_id] = thumbnail(path)
            assert_type(records.use_media(record), Path | None)
        one = records.find("t1")
        assert_type(one, TaskRecord | None)
        if one is not None:
            assert_type(one.task_id, str | None)
            assert_type(one.state, str)
            assert_type(one.is_final, bool)
            assert_type(one.finished, float | None)
            assert_type(one.to_json(), dict[str, object])
            assert_type(records.usual_seconds(one), float | None)
            print(isinstance(one.parameters, dict))
        assert_type(records.forget("t1"), list[TaskRecord])
    return pictures


async def setup() -> bool:
    """The settings, a change to one, and whether they work."""
    settings = read_settings()
    assert_type(settings, Settings)
    assert_type(settings.server, Setting)
    assert_type(settings.server.value, str | None)
    assert_type(settings.server.editable, bool)
    assert_type(settings.kind, str)
    assert_type(settings.problem, ConfigurationError | None)
    change_settings(home_folder(), media_budget="2")
    await refuse_comfyui("sandbox")
    AsyncClient(*server_arguments("sandbox"))
    checks = await examine(workflow_url="sandbox")
    assert_type(checks, list[Check])
    assert_type(checks[0].to_json(), dict[str, str])
    return all(check.status == "ok" for check in checks)


def blocking() -> None:
    """The blocking client."""
    with Client("consumer#key", ledger=True, home=Path("home"), limits=Limits(max_bytes=2**20)) as client:
        assert_type(client, Client)
        for task in tasks():
            task_id = client.execute_workflow(task, reuse=False)
            assert_type(task_id, str)
            result = client.wait_for_result(task_id, timeout=60, interval=2.0, on_update=show)
            assert_type(result, WorkflowTaskResult)
            assert_type(client.query_task_result(task_id), WorkflowTaskResult)
            assert_type(client.execute_workflow_and_wait_for_result(task, timeout=60), WorkflowTaskResult)
            assert_type(client.cancel_task(task_id), str)
            file = client.download(result, on_progress=show_bytes)
            assert_type(file, MediaFile)
            assert_type(client.download_all(result, on_progress=show_bytes, on_file=print), list[MediaFile])
            assert_type(result.media_urls, tuple[str, ...])
        assert_type(client.resource_request(workflow_id="1"), str)
        assert_type(client.run(Text2VideoTask("a rabbit"), Path("a.mp4"), timeout=60, on_update=show), MediaFile)
        handle = client.submit(Text2VideoTask("a rabbit"), job_id="order-17")
        assert_type(handle, TaskHandle)
        assert_type(client.task(handle.task_id), TaskHandle)
        for update in handle.events():
            show(update)
        assert_type([handle.status(), handle.result()], list[WorkflowTaskResult])
        assert_type(handle.download("folder").save("copy.mp4"), Path)
        assert_type(handle.cancel(), str)
        for workflow in client.workflows("upscaler") or []:
            assert_type(workflow, AvailableWorkflow)
            assert_type(workflow.key, WorkflowKey)
            assert_type([*workflow.parameters.values()], list[Parameter])
            capability: Capability = workflow
            assert_type(capability.accepts({}), bool)
        for outcome in client.map(tasks(), at_once=2, ordered=True):
            assert_type(outcome, Outcome)
            assert_type(outcome.error, XaloraError | None)


async def awaited() -> None:
    """The client for event loops."""
    async with AsyncClient(workflow_url="sandbox") as client:
        assert_type(client, AsyncClient)
        results = await asyncio.gather(*[client.execute_workflow_and_wait_for_result(task) for task in tasks()])
        assert_type(results, list[WorkflowTaskResult])
        task_id = await client.execute_workflow(Text2VideoTask("a rabbit", workflow_id="1"))
        assert_type(task_id, str)
        assert_type(await client.wait_for_result(task_id, on_update=show), WorkflowTaskResult)
        assert_type(await client.query_task_result(task_id), WorkflowTaskResult)
        assert_type(await client.cancel_task(task_id), str)
        assert_type(await client.resource_request(), str)
        assert_type(await client.download(results[0]), MediaFile)
        assert_type(await client.download_all(results[0]), list[MediaFile])
        assert_type(await client.run(Text2VideoTask("a rabbit")), MediaFile)
        handle = await client.submit(Text2VideoTask("a rabbit"))
        assert_type(handle, AsyncTaskHandle)
        async for update in handle.events():
            show(update)
        assert_type(await handle.download(), MediaFile)
        async for outcome in client.map(tasks()):
            assert_type(outcome, Outcome)


def tested() -> None:
    """A test of the user's own, without a network."""
    with FakeSequencer() as sequencer, sequencer.client(ledger=True) as client:
        sequencer.next(fails="out of memory", seconds=3600, progress=30, media=Path("a.png"))
        client.run(Text2VideoTask("a rabbit"))
        assert_type(sequencer.async_client(), AsyncClient)
        assert_type(sequencer.created, list[CreatedTask])
        assert_type(sequencer.created[0].task_id, str)
        print(sequencer.created[0].parameters["prompt"] == "a rabbit")


def failing() -> None:
    """Every error has a text of three parts; some know more."""
    try:
        blocking()
    except InvalidParameterError as error:
        assert_type(error.field, str)
        assert_type(error.value, object)
        assert_type(error.allowed, str)
    except ConfigurationError as error:
        assert_type(error.what, str)
    except NetworkError as error:
        assert_type(error.sent, Literal["no", "maybe"])
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
    except APIStatusError as error:
        assert_type(error.status_code, int)
        assert_type(error.message, str)
    except (TaskFailedError, TaskCanceledError, TaskTimeoutError) as error:
        assert_type(error, TaskFailedError | TaskCanceledError | TaskTimeoutError)
    except TaskError as error:
        assert_type(error.task_id, str | None)
        if isinstance(error.result, WorkflowTaskResult):
            read(error.result)
    except (DownloadError, DecodeError, MediaTooLargeError) as error:
        assert_type(error.advice, str)
    except MediaError as error:
        assert_type(error.path, Path | None)
    except ResponseError as error:
        assert_type(error.task_id, str | None)
    except XaloraError as error:
        assert_type(error.advice, str)


def keys() -> Mapping[str, str]:
    """The two halves of a key."""
    credentials = Credentials.parse("consumer#key")
    assert_type(credentials, Credentials)
    return {credentials.consumer_id: credentials.api_key}
