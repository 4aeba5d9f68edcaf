"""What consumers are told about what there is to run, while others get their turns, however many miners there are."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Iterable
from dataclasses import replace

from ..workflows import AvailableWorkflow, WorkflowList
from .miners import Capabilities

MOST_LISTED = 500
"""Workflows in one answer, and names of others."""

LARGEST_ANSWER = 2**20
"""Characters of the workflows in one answer."""

_MOST_READ = 4 * 2**20
"""Characters of what miners announced that are looked at for one answer: all of it would take long."""


async def list_workflows(
    capabilities: Capabilities, miners: Iterable[str], task_type: str | None, workflow_id: str | None
) -> WorkflowList:
    """What these miners run, and what else may be asked for; of one task type or workflow id, unless that is None."""
    texts = await capabilities.announced_by(miners)
    found = await capabilities.workflows_in(texts, task_type, workflow_id)
    listed: list[AvailableWorkflow] = []
    read = size = 0
    for workflow in heapq.nsmallest(MOST_LISTED, found, key=str):
        known, others = capabilities.in_texts(workflow, texts)
        if not known or read > _MOST_READ:  # They may have changed meanwhile.
            continue
        available = AvailableWorkflow.of(known[0][1])
        for text, capability in known:
            available, read = available.joined(capability), read + len(text)
            await asyncio.sleep(0)
            if read > _MOST_READ:
                others = True
                break
        available = replace(available, others=available.others or others)
        length = len(json.dumps(available.to_json()))
        if size + length <= LARGEST_ANSWER:
            listed.append(available)
            size += length
    away = capabilities.names_besides(found, task_type, workflow_id)
    left_off = len(found) - len(listed) + max(0, len(away) - MOST_LISTED)
    return WorkflowList(tuple(listed), tuple(away[:MOST_LISTED]), left_off)
