"""What flows ask of the delivery of images: an address before the create, and their removal after the task."""

from __future__ import annotations

from typing import Any, Protocol

from ..protocol.requests import Job


class Images(Protocol):
    """How a task's images reach the miners. See ``delivery``."""

    @property
    def removes(self) -> bool:
        """Whether anything is to be removed after a task."""

    async def addressed(self, job: Job) -> Job:
        """The job with an address for each image in it; what is not there yet is uploaded.

        Raises XaloraError when an image cannot be delivered. Then nothing was created.
        """

    def created(self, job: Job, task_id: str) -> None:
        """Note which task the job's images are for."""

    async def dropped(self, job: Job) -> None:
        """Remove what was uploaded for a job that became no task, unless others use it. What fails is logged."""

    async def ended(self, task_id: str, parameters: Any) -> None:
        """Remove the images of a task that has ended, unless others use them. What fails is logged.

        ``parameters`` are the task's in the ledger, or None.
        """
