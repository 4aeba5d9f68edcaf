"""Workflows as files: an artist's API exports, whose node titles bind a task's parameters."""

from .capability import Offer
from .check import CheckedWorkflow, Fault, check
from .parameter import Parameter, check_parameters
from .shipped import copy_shipped, ready_folder, small_folder
from .workflow import Workflow, WorkflowFileError, read_folder, read_workflow, try_folder

__all__ = [
    "CheckedWorkflow",
    "Fault",
    "Offer",
    "Parameter",
    "Workflow",
    "WorkflowFileError",
    "check",
    "check_parameters",
    "copy_shipped",
    "read_folder",
    "read_workflow",
    "ready_folder",
    "small_folder",
    "try_folder",
]
