"""Workflows as files: an artist's API exports, whose node titles bind a task's parameters."""

from .capability import Capability
from .check import CheckedWorkflow, Fault, check
from .file import Workflow, WorkflowFileError, WorkflowKey, read_folder, read_workflow, try_folder
from .parameter import Parameter
from .shipped import copy_shipped, ready_folder, small_folder

__all__ = [
    "Capability",
    "CheckedWorkflow",
    "Fault",
    "Parameter",
    "Workflow",
    "WorkflowFileError",
    "WorkflowKey",
    "check",
    "copy_shipped",
    "read_folder",
    "read_workflow",
    "ready_folder",
    "small_folder",
    "try_folder",
]
