"""A client for Xalora's workflow API: create a task, wait for it, cancel it, download its media.

::

    from xalora_client import Client, Text2VideoTask

    with Client() as client:
        result = client.execute_workflow_and_wait_for_result(Text2VideoTask("a rabbit", workflow_id="1"))
        print(client.download(result).path)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    DecodeError,
    DownloadError,
    InvalidParameterError,
    MediaError,
    MediaTooLargeError,
    NetworkError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseError,
    ServerError,
    StorageError,
    TaskCanceledError,
    TaskError,
    TaskFailedError,
    TaskTimeoutError,
    XaloraError,
)
from .http import __version__
from .protocol.answers import TaskProgress, TaskStatus, WorkflowTaskResult
from .protocol.inputs import InputImage
from .protocol.parameters import Rule, encode_data_uri
from .protocol.requests import Credentials, Request, Response
from .protocol.tasks import CustomTask, FluxLoraTask, Text2VideoTask, UpscalerTask, WorkflowTask

if TYPE_CHECKING:
    from .client.async_ import AsyncClient, AsyncTaskHandle
    from .client.doctor import Check, examine
    from .client.download import MediaFile
    from .client.many import Outcome
    from .client.records import TaskRecords
    from .client.sync import Client, TaskHandle
    from .client.updates import OnUpdate, TaskUpdate
    from .config import Setting, home_folder
    from .config.settings import Settings, change_settings, read_settings
    from .http.transport import Fetch, Transport
    from .ledger import TaskRecord
    from .media.decoding import decode, decode_sound, thumbnail
    from .media.decoding.formats import Format, Kind, MediaInfo, asked_size
    from .media.decoding.frames import Array, Decoded, Progress
    from .media.decoding.limits import Limits, require_memory
    from .media.decoding.video_decoding import Sound
    from .media.receiver import DownloadProgress, OnProgress
    from .uploads import OnUpload, UploadProgress
    from .workflows import AvailableWorkflow, Capability, Parameter, WorkflowKey
else:
    # Loaded at first use: they import HTTP libraries and decoders, which would slow down ComfyUI's start.
    _MODULES = {
        ".client.async_": "AsyncClient AsyncTaskHandle",
        ".client.download": "MediaFile",
        ".client.many": "Outcome",
        ".client.records": "TaskRecords",
        ".client.sync": "Client TaskHandle",
        ".client.updates": "OnUpdate TaskUpdate",
        ".config": "Setting home_folder",
        ".config.settings": "Settings change_settings read_settings",
        ".client.doctor": "Check examine",
        ".http.transport": "Fetch Transport",
        ".ledger": "TaskRecord",
        ".media.decoding": "decode decode_sound thumbnail",
        ".media.decoding.formats": "Format Kind MediaInfo asked_size",
        ".media.decoding.frames": "Array Decoded Progress",
        ".media.decoding.limits": "Limits require_memory",
        ".media.decoding.video_decoding": "Sound",
        ".media.receiver": "DownloadProgress OnProgress",
        ".uploads": "OnUpload UploadProgress",
        ".workflows": "AvailableWorkflow Capability Parameter WorkflowKey",
    }
    _LOADED_LATER = {name: module for module, names in _MODULES.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        if name not in _LOADED_LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_LOADED_LATER[name], __name__), name)
        return value


__all__ = [
    "APIStatusError",
    "Array",
    "AsyncClient",
    "AsyncTaskHandle",
    "AuthenticationError",
    "AvailableWorkflow",
    "BadRequestError",
    "Capability",
    "Check",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Credentials",
    "CustomTask",
    "DecodeError",
    "Decoded",
    "DownloadError",
    "DownloadProgress",
    "Fetch",
    "FluxLoraTask",
    "Format",
    "InputImage",
    "InvalidParameterError",
    "Kind",
    "Limits",
    "MediaError",
    "MediaFile",
    "MediaInfo",
    "MediaTooLargeError",
    "NetworkError",
    "NotFoundError",
    "OnProgress",
    "OnUpdate",
    "OnUpload",
    "Outcome",
    "Parameter",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "Progress",
    "RateLimitError",
    "Request",
    "RequestTimeoutError",
    "Response",
    "ResponseError",
    "Rule",
    "ServerError",
    "Setting",
    "Settings",
    "Sound",
    "StorageError",
    "TaskCanceledError",
    "TaskError",
    "TaskFailedError",
    "TaskHandle",
    "TaskProgress",
    "TaskRecord",
    "TaskRecords",
    "TaskStatus",
    "TaskTimeoutError",
    "TaskUpdate",
    "Text2VideoTask",
    "Transport",
    "UploadProgress",
    "UpscalerTask",
    "WorkflowKey",
    "WorkflowTask",
    "WorkflowTaskResult",
    "XaloraError",
    "__version__",
    "asked_size",
    "change_settings",
    "decode",
    "decode_sound",
    "encode_data_uri",
    "examine",
    "home_folder",
    "read_settings",
    "require_memory",
    "thumbnail",
]
