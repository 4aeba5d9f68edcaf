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
from .protocol.parameters import encode_data_uri
from .protocol.tasks import CustomTask, FluxLoraTask, Text2VideoTask, UpscalerTask, WorkflowTask
from .status_parts import StatusPart

if TYPE_CHECKING:
    from .client.advanced import AdvancedOptions
    from .client.async_ import AsyncClient, AsyncTaskHandle
    from .client.download import MediaFile
    from .client.many import Outcome
    from .client.records import TaskRecords
    from .client.sync import Client, TaskHandle
    from .client.updates import OnUpdate, TaskUpdate
    from .ledger import TaskRecord
    from .media.decoding import decode, decode_sound, thumbnail
    from .media.decoding.formats import MediaInfo
    from .media.decoding.frames import Decoded
    from .media.decoding.limits import Limits
    from .media.decoding.video_decoding import Sound
    from .media.receiver import DownloadProgress, OnProgress
    from .uploads import OnUpload, UploadProgress
    from .workflows import AvailableWorkflow
else:
    # Loaded at first use: they import HTTP libraries and decoders, which would slow down ComfyUI's start.
    _MODULES = {
        ".client.advanced": "AdvancedOptions",
        ".client.async_": "AsyncClient AsyncTaskHandle",
        ".client.download": "MediaFile",
        ".client.many": "Outcome",
        ".client.records": "TaskRecords",
        ".client.sync": "Client TaskHandle",
        ".client.updates": "OnUpdate TaskUpdate",
        ".ledger": "TaskRecord",
        ".media.decoding": "decode decode_sound thumbnail",
        ".media.decoding.formats": "MediaInfo",
        ".media.decoding.frames": "Decoded",
        ".media.decoding.limits": "Limits",
        ".media.decoding.video_decoding": "Sound",
        ".media.receiver": "DownloadProgress OnProgress",
        ".uploads": "OnUpload UploadProgress",
        ".workflows": "AvailableWorkflow",
    }
    _LOADED_LATER = {name: module for module, names in _MODULES.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        if name not in _LOADED_LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_LOADED_LATER[name], __name__), name)
        return value


__all__ = [
    "APIStatusError",
    "AdvancedOptions",
    "AsyncClient",
    "AsyncTaskHandle",
    "AuthenticationError",
    "AvailableWorkflow",
    "BadRequestError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "CustomTask",
    "DecodeError",
    "Decoded",
    "DownloadError",
    "DownloadProgress",
    "FluxLoraTask",
    "InputImage",
    "InvalidParameterError",
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
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseError",
    "ServerError",
    "Sound",
    "StatusPart",
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
    "UploadProgress",
    "UpscalerTask",
    "WorkflowTask",
    "WorkflowTaskResult",
    "XaloraError",
    "__version__",
    "decode",
    "decode_sound",
    "encode_data_uri",
    "thumbnail",
]
