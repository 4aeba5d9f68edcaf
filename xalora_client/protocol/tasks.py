"""The tasks a sequencer takes, checked when they are built.

Task types, parameter names and defaults are those of the product's "Text2Video Workflow" and "FluxLora Workflow"
pages and of the npm package ``heurist`` 0.0.43. Only parameters that were set are sent; for the rest the server
uses its own defaults.
"""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ..errors import InvalidParameterError, one_line
from .hidden import Secret
from .inputs import InputImage, with_addresses
from .parameters import MediaAddress, Number, Rule, Text, Whole, encode_data_uri

USUAL_WORKFLOWS = {"txt2vid": "1", "txt2img": "3"}
"""Which of the server's workflows a kind of task without a workflow id means."""

_RULE = "rule"
_IMAGE = secrets.token_hex(16)
"""The name of an image's place while parameters are copied. Nobody can know it."""

_TEXT = Text("")
_TIMEOUT = Whole("seconds the sequencer gives the task", minimum=0, maximum=7 * 24 * 3600)


def _required(rule: Rule) -> Any:
    return field(metadata={_RULE: rule})


def _optional(rule: Rule) -> Any:
    return field(default=None, metadata={_RULE: rule})


@dataclass(kw_only=True, eq=False, repr=False)
class WorkflowTask(ABC):
    """A task for a miner. For a kind of your own, subclass it and define ``task_type`` and ``task_details``.

    Two tasks are equal when they have the same class and send the same values. ``repr`` shows what is sent, except the
    key.

    Args:
        consumer_id: Used for this task in place of the client's. Not empty.
        job_id_prefix: The start of the job id, "sdk-workflow" if None. Not empty.
        timeout_seconds: How long the *sequencer* gives the task, 0 to 604,800 seconds. 0 or None leaves it to the
            server. How long this side waits is set in the call that waits.
        workflow_id: Which of the server's workflows runs: "1" for Hunyuan video, "3" for Flux LoRA. Not empty. None is
            not sent; the ledger takes both for the same task.
        api_key: Used for this task in place of the client's. Not empty. It cannot be read back, and no pickle has it.

    Raises:
        InvalidParameterError: A value is not allowed.
    """

    consumer_id: str | None = None
    job_id_prefix: str | None = None
    timeout_seconds: int | None = None
    workflow_id: str | None = None
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("consumer_id", "job_id_prefix", "workflow_id"):
            if getattr(self, name) is not None:
                _TEXT.check(name, getattr(self, name))
        if self.timeout_seconds is not None:
            _TIMEOUT.check("timeout_seconds", self.timeout_seconds)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "api_key" and not isinstance(value, Secret | None):
            if not _TEXT.accepts(value):
                raise InvalidParameterError("api_key", "<hidden>", _TEXT.allowed)
            value = Secret(value)
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WorkflowTask) or type(other) is not type(self):
            return NotImplemented
        return self._sent() == other._sent() and self.api_key == other.api_key

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # What is sent may change.

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={_short(value)}" for name, value in self._sent().items() if value is not None)
        return f"{type(self).__name__}({values})"

    def _sent(self) -> dict[str, Any]:
        options = {option.name: getattr(self, option.name) for option in fields(WorkflowTask)}
        del options["api_key"]
        return {"task_type": self.task_type, "task_details": self.task_details} | options

    @property
    @abstractmethod
    def task_type(self) -> str:
        """The protocol's name for the kind of task, such as "txt2vid"."""

    @property
    @abstractmethod
    def task_details(self) -> dict[str, object]:
        """What the miner receives: a JSON object with the key "parameters"."""

    @classmethod
    def rules(cls) -> list[tuple[str, Rule, bool]]:
        """List the kind's parameters.

        Returns:
            For each parameter, in order: its field name, its rule, and whether it is required. Empty for a kind without
            rules.
        """
        return []

    def to_json(self) -> dict[str, object]:
        """What is sent, without the key, for example to be kept in a file.

        Returns:
            A JSON object. Images are in it as ``data:`` URIs.

        Raises:
            InvalidParameterError: An image cannot be read.
        """
        sent = {name: value for name, value in self._sent().items() if value is not None}
        return sent | {"task_details": with_addresses(self.task_details, _data_uri)}

    @staticmethod
    def from_json(data: object) -> WorkflowTask:
        """Make a task of what ``to_json`` gave.

        Args:
            data: The JSON object.

        Returns:
            A task that sends the same: of the kind's class where that comes with this library, else a CustomTask.

        Raises:
            InvalidParameterError: It is no such object, or a value is not allowed.
        """
        details = data.get("task_details") if isinstance(data, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(details, Mapping) or [*details] != ["parameters"]:
            raise InvalidParameterError("data", data, 'an object with "task_type" and {"parameters": {…}}')
        names = [option.name for option in fields(WorkflowTask) if option.name != "api_key"]
        options: dict[str, Any] = {name: data[name] for name in names if name in data}
        parameters = _json_object("parameters", details["parameters"])
        for kind in (Text2VideoTask, UpscalerTask, FluxLoraTask):
            by_wire_name = {rule.wire_name or name: name for name, rule, _ in kind.rules()}
            required = {rule.wire_name or name for name, rule, is_required in kind.rules() if is_required}
            if kind.type_name == data.get("task_type") and required <= parameters.keys() <= by_wire_name.keys():
                return kind(**{by_wire_name[name]: value for name, value in parameters.items()}, **options)
        return CustomTask(data.get("task_type", ""), parameters, **options)


@dataclass(eq=False, repr=False)
class _KnownTask(WorkflowTask):
    """A kind whose parameters are dataclass fields, each with a rule."""

    type_name: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, rule, required in self.rules():
            value = getattr(self, name)
            if isinstance(rule, MediaAddress) and value is not None and not isinstance(value, str):
                setattr(self, name, InputImage.of(value))
            elif required or value is not None:
                rule.check(name, value)

    @classmethod
    def rules(cls) -> list[tuple[str, Rule, bool]]:
        """List the kind's parameters, as WorkflowTask.rules does."""
        return [
            (parameter.name, parameter.metadata[_RULE], parameter.default is not None)
            for parameter in fields(cls)
            if _RULE in parameter.metadata
        ]

    @property
    def task_type(self) -> str:
        """The protocol's name for the kind of task."""
        return self.type_name

    @property
    def task_details(self) -> dict[str, object]:
        """The parameters that were set, under their names in the protocol."""
        values = {rule.wire_name or name: getattr(self, name) for name, rule, _ in self.rules()}
        return {"parameters": {name: value for name, value in values.items() if value is not None}}


_WIDTH = Whole("width in pixels", minimum=16, maximum=4096)
_HEIGHT = Whole("height in pixels", minimum=16, maximum=4096)
_VIDEO_WIDTH = Whole("width in pixels", minimum=16, maximum=4096, step=16)
_VIDEO_HEIGHT = Whole("height in pixels", minimum=16, maximum=4096, step=16)
_ASPECT_RATIO = (
    "aspect ratio by the name that the server's workflow has for it: “custom” uses width and height; usual others are "
    "“1:1 square 1024x1024”, “3:4 portrait 896x1152”, “9:16 portrait 768x1344”, “4:3 landscape 1152x896” and “16:9 "
    "landscape 1344x768”"
)
_STEPS = Whole("sampling steps", minimum=1, maximum=1000)


@dataclass(eq=False, repr=False)
class Text2VideoTask(_KnownTask):
    """A video from a text (``txt2vid``). ``workflow_id="1"`` selects Hunyuan, which the product's page requires.

    A parameter that is None is not sent; the server then uses its default. WorkflowTask documents ``consumer_id``,
    ``job_id_prefix``, ``timeout_seconds``, ``workflow_id`` and ``api_key``.

    Args:
        prompt: What the video shows. Not empty.
        width: Pixels, 16 to 4096, a multiple of 16.
        height: Pixels, 16 to 4096, a multiple of 16.
        length: Frames, 1 to 4097, of the form 4k + 1.
        steps: Sampling steps, 1 to 1000.
        seed: Seed of the noise, 0 to 2**53 - 1.
        fps: Frames per second, 1 to 240.
        quality: Quality of the encoded video, 1 to 100.

    Raises:
        InvalidParameterError: A value is not allowed.
    """

    type_name: ClassVar[str] = "txt2vid"

    prompt: str = _required(Text("what the video shows"))
    width: int | None = _optional(_VIDEO_WIDTH)
    height: int | None = _optional(_VIDEO_HEIGHT)
    length: int | None = _optional(Whole("frames", minimum=1, maximum=4097, step=4, remainder=1))
    steps: int | None = _optional(_STEPS)
    seed: int | None = _optional(Whole("seed of the noise"))
    fps: int | None = _optional(Whole("frames per second", minimum=1, maximum=240))
    quality: int | None = _optional(Whole("quality of the encoded video", minimum=1, maximum=100))


@dataclass(eq=False, repr=False)
class UpscalerTask(_KnownTask):
    """A larger version of one image (``upscaler``). The miner fetches the image.

    WorkflowTask documents ``consumer_id``, ``job_id_prefix``, ``timeout_seconds``, ``workflow_id`` and ``api_key``.

    Args:
        image_url: An http or https URL that the miner can reach, a ``data:`` URI (see ``encode_data_uri``), or what
            ``InputImage.of`` takes: a path, bytes, a Pillow image, an array or a tensor. All but a URL are given an
            address before the task is created.

    Raises:
        InvalidParameterError: A value is not allowed.
    """

    type_name: ClassVar[str] = "upscaler"

    image_url: object = _required(MediaAddress("the image's address", wire_name="image"))


@dataclass(eq=False, repr=False)
class FluxLoraTask(_KnownTask):
    """An image from a text with Flux and a LoRA (``txt2img``). ``workflow_id="3"`` selects it.

    A parameter that is None is not sent; the server then uses its default. WorkflowTask documents ``consumer_id``,
    ``job_id_prefix``, ``timeout_seconds``, ``workflow_id`` and ``api_key``.

    Args:
        prompt: What the image shows. Not empty.
        lora_name: File name of the LoRA on the miners. Not empty.
        aspect_ratio: Aspect ratio by name; "custom" uses width and height.
        width: Pixels, 16 to 4096.
        height: Pixels, 16 to 4096.
        guidance: Guidance scale, 0 to 100.
        steps: Sampling steps, 1 to 1000.
        noise_seed: Seed of the noise, 0 to 2**53 - 1.

    Raises:
        InvalidParameterError: A value is not allowed.
    """

    type_name: ClassVar[str] = "txt2img"

    prompt: str = _required(Text("what the image shows"))
    lora_name: str = _required(Text("file name of the LoRA on the miners"))
    aspect_ratio: str | None = _optional(Text(_ASPECT_RATIO))
    width: int | None = _optional(_WIDTH)
    height: int | None = _optional(_HEIGHT)
    guidance: float | None = _optional(Number("guidance scale", minimum=0, maximum=100))
    steps: int | None = _optional(_STEPS)
    noise_seed: int | None = _optional(Whole("seed of the noise"))


class CustomTask(WorkflowTask):
    """A task for any other workflow.

    WorkflowTask documents ``consumer_id``, ``job_id_prefix``, ``timeout_seconds``, ``workflow_id`` and ``api_key``.

    Args:
        task_type: The protocol's name for the kind of task. Not empty.
        parameters: The workflow's parameters, as JSON values. They are copied. In place of an image's address a value
            may be what ``InputImage.of`` takes, such as a ``pathlib.Path``.

    Raises:
        InvalidParameterError: A value is not allowed.
    """

    def __init__(
        self,
        task_type: str,
        parameters: Mapping[str, object] | None = None,
        *,
        consumer_id: str | None = None,
        job_id_prefix: str | None = None,
        timeout_seconds: int | None = None,
        workflow_id: str | None = None,
        api_key: str | None = None,
    ) -> None:
        super().__init__(
            consumer_id=consumer_id,
            job_id_prefix=job_id_prefix,
            timeout_seconds=timeout_seconds,
            workflow_id=workflow_id,
            api_key=api_key,
        )
        _TEXT.check("task_type", task_type)
        self._task_type = task_type
        self._parameters = _json_object("parameters", {} if parameters is None else parameters)

    @property
    def task_type(self) -> str:
        """The type as given."""
        return self._task_type

    @property
    def task_details(self) -> dict[str, object]:
        """The parameters as given."""
        return {"parameters": self._parameters}


def _data_uri(image: InputImage) -> str:
    return encode_data_uri(image.content(), image.media_type)


def _json_object(field_name: str, value: Any) -> dict[str, Any]:
    """Return an independent copy of a JSON object, or raise InvalidParameterError."""
    images: list[InputImage] = []

    def put_aside(image: Any) -> dict[str, int]:
        images.append(InputImage.of(image))
        return {_IMAGE: len(images) - 1}

    def put_back(read: dict[str, Any]) -> Any:
        return images[read[_IMAGE]] if _IMAGE in read else read

    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        with suppress(TypeError, ValueError, RecursionError):
            text = json.dumps(dict(value), allow_nan=False, ensure_ascii=False, default=put_aside)
            copy: dict[str, Any] = json.loads(text.encode(), object_hook=put_back)
            return copy
    raise InvalidParameterError(field_name, value, "an object of JSON values with texts as names")


def _short(value: Any) -> str:
    """A value as text, with each string in it cut: a ``data:`` URI may have megabytes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name!r}: {_short(item)}" for name, item in value.items()) + "}"
    return one_line(repr(value[:100] if isinstance(value, str) else value), 80)
