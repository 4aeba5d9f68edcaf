"""From an answer outside 2xx to its error, with the server's words and fitting advice."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from urllib.parse import urlsplit

from .. import errors
from ..errors import one_line
from .requests import Request, Response, redact
from .signed_links import without_signatures

_ERRORS: dict[int, type[errors.APIStatusError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    410: errors.NotFoundError,
    422: errors.BadRequestError,
    429: errors.RateLimitError,
}

_NO_SEQUENCER = "Check that XALORA_WORKFLOW_URL is the address of a Xalora sequencer and nothing more."
_ADVICE = {
    405: _NO_SEQUENCER,
    406: _NO_SEQUENCER,
    407: "The proxy needs a user and password: put them into HTTPS_PROXY, as http://user:password@host:port.",
    411: _NO_SEQUENCER,
    413: "The request is too large for this server: use smaller images, or an image's http address.",
    414: _NO_SEQUENCER,
    415: _NO_SEQUENCER,
    421: _NO_SEQUENCER,
    425: "The server did not process the request yet: try again.",
    426: "The server requires another protocol: set XALORA_WORKFLOW_URL to its https address.",
    431: "The request's headers are too large for this server or a proxy before it: ask its operator.",
    451: "The server may not answer for legal reasons: ask its operator.",
    501: _NO_SEQUENCER,
    505: _NO_SEQUENCER,
    511: "The network requires you to sign in: open a web page in a browser, then try again.",
}


def status_error(response: Response, request: Request, retry_after: float | None) -> errors.APIStatusError:
    """The error for a status outside 2xx; ``retry_after`` is the seconds the server asked to wait."""
    status = response.status
    kind = _ERRORS.get(status) or (errors.ServerError if status >= 500 else errors.APIStatusError)
    advice = _ADVICE.get(status) or (_redirect_advice(response, request) if 300 <= status < 400 else None)
    return kind(
        one_line(without_signatures(redact(_said(response), request.secret))),
        status_code=status,
        retry_after=retry_after,
        task_id=request.task_id,
        advice=advice,
    )


def _said(response: Response) -> str:
    """The server's words: ``message`` or ``error`` of a JSON object, else the text, else the status in words."""
    text = response.body[:65536].decode("utf-8", "replace").strip()
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        said = next((answer[name] for name in ("message", "error", "msg", "detail") if answer.get(name)), None)
        if said is not None:
            return said if isinstance(said, str) else json.dumps(said)
    if text and answer is None:
        return re.sub(r"<[^>]*>", " ", text) if text.startswith("<") else text
    try:
        return HTTPStatus(response.status).phrase
    except ValueError:
        return "no message"


def _redirect_advice(response: Response, request: Request) -> str:
    """Only the user can follow, because the key would go to another host. Never advise a full path or plain http."""
    try:
        target = urlsplit(response.headers.get("location", ""))
        host, port = target.hostname, target.port
    except ValueError:
        host = port = None
    if not host or target.scheme != "https":
        return "It redirects elsewhere, which is not followed to protect the key: check XALORA_WORKFLOW_URL."
    shown = f"[{host}]" if ":" in host else host
    address = one_line(redact(f"https://{shown}{f':{port}' if port else ''}", request.secret))
    return f"It redirects to {address}: if that is right, set XALORA_WORKFLOW_URL to it."
