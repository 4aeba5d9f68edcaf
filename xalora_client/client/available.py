"""What a server's miners take: on request, and before a create for whoever wants to know.

A server that does not tell, such as Xalora's public network, or does not tell at once, changes nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress

from ..config.validation import is_public
from ..errors import APIStatusError, InvalidParameterError, XaloraError, listed, one_line
from ..protocol.answers import read_object
from ..protocol.requests import Request, Response
from ..protocol.tasks import WorkflowTask
from ..workflows import AvailableWorkflow, WorkflowKey, WorkflowList
from .session import Session, Wanted

SECONDS = 2.0
"""How long a create waits for the answer."""

FRESH_SECONDS = 30.0
"""How long an answer, or that there is none, counts for further creates."""


async def workflows(session: Session, task_type: str | None, workflow_id: str | None) -> list[AvailableWorkflow] | None:
    """What connected miners run now; None where the server does not tell."""
    request = session.sequencer.workflow_list(session.sequencer.credentials, task_type, workflow_id)
    try:
        found = read_list(await session.ask(request, session.call_deadline()), request)
    except APIStatusError as error:
        if error.status_code in (404, 405):
            return None
        raise
    return None if found is None else list(found.workflows)


async def check_available(session: Session, task: WorkflowTask) -> None:
    """Tell ``on_available`` what miners take for a task that is about to be created.

    Raises InvalidParameterError for what no miner takes. The server alone knows that for certain, so this looks only
    for what is not on a list, or out of a range.
    """
    if session.options.on_available is None or is_public(session.sequencer.url):
        return
    key, details = WorkflowKey(task.task_type, task.workflow_id), task.task_details
    parameters = details.get("parameters") if isinstance(details, Mapping) else None
    found = await _list(session, task, key)
    if found is None or not isinstance(parameters, Mapping):
        return
    workflow = next((workflow for workflow in found.workflows if workflow.key == key), None)
    if workflow is not None:
        session.options.on_available(workflow)
        for name, parameter in workflow.parameters.items():
            # What is an address in the end, a file may be now.
            is_address = parameter.kind in ("image", "text")
            if not workflow.others and not is_address and parameters.get(name) is not None:
                parameter.resolve(parameters[name])
    elif str(key) not in found.names and not found.left_off:
        known = await _list(session, task, (None, None))
        if known is not None and known.names:
            names = listed(known.names)
            error = InvalidParameterError("workflow_id", task.workflow_id, names, code="not_offered")
            why = f"; {one_line(found.left_out, 500)}" if found.left_out else ""
            raise error.derived(what=f"No miner offers the workflow {key}{why}")


async def _list(session: Session, task: WorkflowTask, wanted: Wanted) -> WorkflowList | None:
    """What there is of a task type and a workflow id, at most half a minute old; None where it is not told."""
    asked, found = session.known_workflows.get(wanted, (-math.inf, None))
    if session.clock() - asked > FRESH_SECONDS:
        with suppress(XaloraError, asyncio.TimeoutError):  # The create will say what is wrong.
            found = await asyncio.wait_for(_asked(session, task, wanted), SECONDS)
        session.known_workflows[wanted] = session.clock(), found
    return found


async def _asked(session: Session, task: WorkflowTask, wanted: Wanted) -> WorkflowList | None:
    """Ask a server that says that it tells: to others, nothing with the key is sent in addition."""
    if session.uploads is None or not (await session.uploads.about_server(tries=1)).get("workflow_list"):
        return None
    request = session.sequencer.workflow_list(session.sequencer.credentials_of(task), *wanted)
    return read_list(await session.send(request, SECONDS), request)


def read_list(response: Response, request: Request) -> WorkflowList | None:
    """The answer; None for one of a server that means something else by this."""
    with suppress(XaloraError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return WorkflowList.from_json(read_object(response, request))
    return None
