"""``python -m tests.faults.fuzz [OPTIONS OF LIBFUZZER]``: guided by coverage, for as long as it is let run.

Needs ``pip install atheris``. The first bytes of an input choose what is fed with the rest; whatever is raised that is
no error of the SDK stops it, and the input is written to a file that reproduces it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["xalora_client"]):
    from tests.faults.test_fuzz import CREATE, QUERY, SERVER, assert_fit_to_be_shown
    from xalora_client import XaloraError
    from xalora_client.media.decoding.formats import sniff
    from xalora_client.protocol import answers
    from xalora_client.protocol.requests import Response
    from xalora_client.protocol.urls import Link


def _response(data: bytes, status: int = 200) -> Response:
    return Response(status, {"retry-after": data[:20].decode("latin-1")}, data, 1.7e9)


def _parse_link(data: bytes) -> None:
    try:
        link = Link.parse(data.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    assert Link.parse(link.text).target == link.target


_TARGETS: tuple[Callable[[bytes], object], ...] = (
    lambda data: answers.read_created(_response(data), CREATE),
    lambda data: answers.read_result(_response(data), QUERY, server=SERVER.url),
    lambda data: answers.read_message(_response(data), QUERY),
    lambda data: answers.check_status(_response(data[1:], 300 + data[0] if data else 400), CREATE),
    _parse_link,
    sniff,
)


def try_one(data: bytes) -> None:
    """Feed one input."""
    try:
        _TARGETS[data[0] % len(_TARGETS) if data else 0](data[1:])
    except XaloraError as error:
        assert_fit_to_be_shown(error)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
