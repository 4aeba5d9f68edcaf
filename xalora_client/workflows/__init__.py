"""Workflows as files: an artist's API exports, whose node titles bind a task's parameters."""

from .available import AvailableWorkflow, WorkflowList
from .capability import Capability
from .check import CheckedWorkflow, check
from .file import Workflow, WorkflowFileError, WorkflowKey, read_folder, try_folder
from .parameter import Parameter
from .shipped import READY_FOLDER, SMALL_FOLDER, copy_shipped

__all__ = [
    "READY_FOLDER",
    "SMALL_FOLDER",
    "AvailableWorkflow",
    "Capability",
    "CheckedWorkflow",
    "Parameter",
    "Workflow",
    "WorkflowFileError",
    "WorkflowKey",
    "WorkflowList",
    "check",
    "copy_shipped",
    "read_folder",
    "try_folder",
]
