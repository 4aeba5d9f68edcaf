"""``--dry-run``: what a command would send, and whether an earlier task would be used. No server is asked."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from .. import config
from ..config.validation import SANDBOX
from ..ledger import Ledger, Step
from ..protocol.requests import CreateRequest, Sequencer
from ..protocol.tasks import WorkflowTask
from .outcome import print_result

_ORIGINS = {
    Step.NEW: "would be created and charged",
    Step.RESENT: "would be sent again under its job id: nobody knows whether it arrived",
    Step.EXISTING: "would be continued, without another charge, unless it has failed since",
    Step.REUSED: "would be reused, without another charge",
    Step.IN_PROGRESS: "is being sent by another run, which would be waited for",
}


async def show_plan(arguments: argparse.Namespace, tasks: Sequence[WorkflowTask]) -> int:
    """Print each task: a line for people, and what it has; with ``--json`` one object in each line."""
    settings = config.load(workflow_url=SANDBOX if arguments.sandbox else None)
    sequencer = Sequencer(settings.workflow_url, settings.require_credentials())
    planned = set[str]()
    with Ledger(settings.home, settings.workflow_url) as ledger:
        for task in tasks:
            identity = ledger.identity(CreateRequest(task, sequencer.credentials_of(task), ""))
            step, record = ledger.plan(identity, reuse=arguments.reuse)
            task_id = record and record.task_id
            says, name = _ORIGINS[step], identity.fingerprints[0]
            if arguments.reuse and step in (Step.NEW, Step.RESENT) and name in planned:
                step, says = Step.IN_PROGRESS, "would be the same as one above"
            planned.add(name)
            seen = {
                "server": settings.workflow_url,
                "task_type": task.task_type,
                "workflow_id": task.workflow_id,
                "timeout_seconds": task.timeout_seconds,
                "parameters": identity.parameters,
            }
            what = f"task {task_id}" if task_id else "a task"
            print_result(
                arguments,
                seen | {"origin": step.value, "task_id": task_id, "state": record and record.state},
                f"{what} {says}",
                *(f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in seen.items() if value),
            )
    return 0
