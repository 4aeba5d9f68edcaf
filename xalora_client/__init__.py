"""A client of Xalora's workflow API: create a task, wait for it, cancel it, have its media as a file.

::

    from xalora_client import Client, Text2VideoTask

    with Client() as client:
        result = client.execute_workflow_and_wait_for_result(Text2VideoTask("a rabbit", workflow_id="1"))
        print(client.download(result).path)
"""

from .aio import AsyncClient
from .client import Client
from .credentials import Credentials
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
from .media.download import DownloadProgress, MediaFile
from .results import TaskStatus, WorkflowTaskResult
from .tasks import CustomTask, FluxLoraTask, Text2VideoTask, UpscalerTask, WorkflowTask
from .version import __version__
from .waiting import TaskUpdate

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
    "MediaError",
    "MediaFile",
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
]
