"""Fixtures for miners."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.farm import Farm


@pytest.fixture
def farm(tmp_path: Path) -> Callable[[Callable[[Farm], Awaitable[None]]], None]:
    """Runs a coroutine with a farm."""

    def run(scenario: Callable[[Farm], Awaitable[None]]) -> None:
        async def within() -> None:
            async with Farm(tmp_path) as made:
                await scenario(made)

        asyncio.run(within())

    return run
