"""``xalora doctor``: what works, what does not, and what to do."""

from __future__ import annotations

import argparse
import json

from ..config import validation
from ..doctor import Check, examine, worst
from ..errors.messages import COMMAND

MARKS = {"ok": "ok     ", "warning": "warning", "problem": "problem"}


async def doctor(arguments: argparse.Namespace) -> int:
    """``xalora doctor [--json]``: 1 where there is a problem, else 0."""

    def show(check: Check) -> None:
        if not arguments.json:
            print(f"{MARKS[check.status]}  {check.name}: {check.text}", flush=True)
            if advice := check.advice_for(COMMAND):
                print(f"         {advice}", flush=True)

    checks = await examine(workflow_url=validation.SANDBOX if arguments.sandbox else None, on_check=show)
    if arguments.json:
        print(json.dumps({"status": worst(checks), "checks": [check.to_json(COMMAND) for check in checks]}))
    return 1 if worst(checks) == "problem" else 0
