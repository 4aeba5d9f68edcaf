"""Downloads through each of the clients."""

from __future__ import annotations

import pytest

from tests.support.downloads import finished


@pytest.fixture
def fetch(subject):
    """Download an address as a finished task's result, through one of the clients."""

    def do(url, *, limits=None, on_progress=None):
        return subject.do(lambda c: c.download(finished(url), on_progress), limits=limits)

    return do
