"""What others depend on, reached only as they reach it: by the facade, the command, HTTP, files and node mappings.

The JSON files beside the tests say what was there at version 0.1.0 of the client. A refactoring leaves them as they
are. A change on purpose is made with ``UPDATE_OUTSIDE=1 python -m pytest tests/outside``, and its reason is in the
commit.

What others depend on is pinned elsewhere as well: the bodies that npm ``heurist`` sends in
``tests/protocol/wire_vectors.json``, the nodes' ids and inputs in ``tests/nodes/snapshot.json``, the objects in a
bucket in ``tests/delivery``, and the exit codes of more mistakes in ``tests/cli/test_exit_codes.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.snapshot import Snapshot


@pytest.fixture
def snapshot(request: pytest.FixtureRequest) -> Snapshot:
    """The JSON file of a test module: that of test_library.py is library.json."""
    module = Path(request.path)
    return Snapshot(module.with_name(f"{module.stem.removeprefix('test_')}.json"))
