"""Files to download, and what is left behind."""

from __future__ import annotations

from tests.support.pictures import noise
from xalora_client import TaskStatus, WorkflowTaskResult

PNG, OTHER_PNG = noise(0), noise(1)
HALF = len(PNG) // 2
BIG, OTHER_BIG = noise(2, 1000), noise(3, 1000)
"""Several times what lies in buffers: of a connection that breaks, the last bytes may be lost."""
MIDDLE = len(BIG) // 2


def finished(url):
    return WorkflowTaskResult("t1", TaskStatus.FINISHED, media_url=url)


def left_over(home):
    """What downloads left behind, and what was rejected."""
    return sorted(each.name for folder in ("incoming", "rejected") for each in (home / "media" / folder).glob("*"))
