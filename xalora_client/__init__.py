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
    from .client.async_ import AsyncClient
    from .client.download import MediaFile
    from .client.records import TaskRecords
    from .client.sync import Client
    from .client.updates import OnUpdate, TaskUpdate
    from .config import home_folder
    from .config.settings import Setting, Settings, change_settings, read_settings
    from .doctor import Check, examine
    from .http.transport import Fetch, Transport
    from .ledger import TaskRecord
    from .media.decoding import (
        Array,
        Decoded,
        Format,
        Kind,
        Limits,
        MediaInfo,
        Progress,
        Sound,
        decode,
        decode_sound,
        require_memory,
        thumbnail,
    )
    from .media.receiver import DownloadProgress, OnProgress
    from .uploads import OnUpload, UploadProgress
else:
    # Loaded at first use: they import HTTP libraries and decoders, which would slow down ComfyUI's start.
    _LOADED_LATER = {
        "AsyncClient": ".client.async_",
        "Client": ".client.sync",
        "home_folder": ".config",
        **dict.fromkeys(["OnUpload", "UploadProgress"], ".uploads"),
        **dict.fromkeys(["Check", "examine"], ".doctor"),
        **dict.fromkeys(["OnUpdate", "TaskUpdate"], ".client.updates"),
        **dict.fromkeys(["Fetch", "Transport"], ".http.transport"),
        "MediaFile": ".client.download",
        **dict.fromkeys(["DownloadProgress", "OnProgress"], ".media.receiver"),
        **dict.fromkeys(
            ["Array", "Decoded", "Format", "Kind", "Limits", "MediaInfo", "Progress", "Sound"], ".media.decoding"
        ),
        **dict.fromkeys(["decode", "decode_sound", "require_memory", "thumbnail"], ".media.decoding"),
        "TaskRecord": ".ledger",
        "TaskRecords": ".client.records",
        **dict.fromkeys(["Setting", "Settings", "change_settings", "read_settings"], ".config.settings"),
    }

    def __getattr__(name: str) -> object:
        if name not in _LOADED_LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_LOADED_LATER[name], __name__), name)
        return value


__all__ = [
    "APIStatusError",
    "Array",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
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
    "WorkflowTask",
    "WorkflowTaskResult",
    "XaloraError",
    "__version__",
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
