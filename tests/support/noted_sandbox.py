"""``python noted_sandbox.py FILE sandbox …``: the ``xalora`` command, with a sandbox that notes what it is asked.

Each POST and each download becomes a line of FILE: Unix time, endpoint, job id, task id, HTTP status, as a JSON list.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from aiohttp import web

from xalora_client.cli import main
from xalora_client.sequencer.api import json_body

NOTES = Path(sys.argv[1]).open("a", buffering=1)  # noqa: SIM115 - until the end of the process
BODY = ContextVar[dict[str, Any]]("BODY")
application, parsed = web.Application, json_body._parsed


@web.middleware
async def note(request: web.Request, handler: Any) -> web.StreamResponse:
    """Write the line once the answer is ready."""
    said: dict[str, Any] = {}
    BODY.set(said)
    answer: web.StreamResponse = await handler(request)
    endpoint = request.path.strip("/")
    if request.method == "POST":
        with suppress(ValueError):
            said |= json.loads(answer.body) if isinstance(answer, web.Response) else {}
    elif endpoint.startswith("media/"):
        said["task_id"] = Path(endpoint).stem
    else:
        return answer
    line = [time.time(), endpoint, said.get("job_id"), said.get("task_id"), answer.status]
    NOTES.write(json.dumps(line) + "\n")
    return answer


def noting_body(*parts: Any) -> dict[str, Any]:
    found = parsed(*parts)
    BODY.get().update(found)
    return found


def noting(*, middlewares: Any = (), **options: Any) -> web.Application:
    return application(middlewares=[note, *middlewares], **options)


if __name__ == "__main__":
    json_body._parsed = noting_body
    web.Application = noting  # type: ignore[misc, assignment]
    sys.exit(main(sys.argv[2:]))
