"""A client of Xalora's workflow API: create a task, wait for it, cancel it, have its media as a file.

::

    from xalora_client import Client, Text2VideoTask

    with Client() as client:
        result = client.execute_workflow_and_wait_for_result(Text2VideoTask("a rabbit", workflow_id="1"))
        print(client.download(result).path)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    TaskCanceledError,
    TaskError,
    TaskFailedError,
    TaskTimeoutError,
    XaloraError,
)
from .protocol.answers import TaskStatus, WorkflowTaskResult
from .protocol.parameters import encode_data_uri
from .protocol.requests import Credentials
from .protocol.tasks import CustomTask, FluxLoraTask, Text2VideoTask, UpscalerTask, WorkflowTask
from .version import __version__

if TYPE_CHECKING:
    from .clients.asynchronous import AsyncClient
    from .clients.blocking import Client
    from .engine.waiting import TaskUpdate
    from .media.decoding import Limits, MediaInfo, decode, decode_sound, require_memory
    from .media.download import DownloadProgress, MediaFile

# Loaded at first use: they bring HTTP libraries and decoders, which would slow the start of ComfyUI down.
_LOADED_LATER = {
    "AsyncClient": ".clients.asynchronous",
    "Client": ".clients.blocking",
    "DownloadProgress": ".media.download",
    "Limits": ".media.decoding",
    "MediaFile": ".media.download",
    "MediaInfo": ".media.decoding",
    "TaskUpdate": ".engine.waiting",
    "decode": ".media.decoding",
    "decode_sound": ".media.decoding",
    "require_memory": ".media.decoding",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_LOADED_LATER[name], __name__), name)
    return value


__all__ = [
    "APIStatusError",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Credentials",
    "CustomTask",
    "DecodeError",
    "DownloadError",
    "DownloadProgress",
    "FluxLoraTask",
    "InvalidParameterError",
    "Limits",
    "MediaError",
    "MediaFile",
    "MediaInfo",
    "MediaTooLargeError",
    "NetworkError",
    "NotFoundError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseError",
    "ServerError",
    "TaskCanceledError",
    "TaskError",
    "TaskFailedError",
    "TaskStatus",
    "TaskTimeoutError",
    "TaskUpdate",
    "Text2VideoTask",
    "UpscalerTask",
    "WorkflowTask",
    "WorkflowTaskResult",
    "XaloraError",
    "__version__",
    "decode",
    "decode_sound",
    "encode_data_uri",
    "require_memory",
]
