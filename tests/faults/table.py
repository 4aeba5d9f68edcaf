"""All cases."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from tests.faults.steps import Case

KINDS = ("size_and_time", "what_counts_as_refused", "where_requests_go", "words", "downloads", "secure_connections")


def cases(*kinds: str) -> list[Case]:
    """Every case, or those of some kinds."""
    return [
        replace(case, kind=kind.replace("_", " "))
        for kind in kinds or KINDS
        for case in import_module(f"tests.faults.cases.{kind}").CASES
    ]
