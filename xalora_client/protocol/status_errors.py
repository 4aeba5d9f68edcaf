"""From an answer outside 2xx to its error, with the server's words and fitting advice."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

from .. import errors
from ..errors import one_line
from .hidden import redact
from .requests import NO_KEY, Request, Response
from .urls import Link, without_signatures

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

_CODES = {
    **dict.fromkeys([405, 406, 411, 414, 415, 421, 501, 505], "not_a_sequencer"),
    407: "proxy_login",
    413: "request_too_large",
    425: "too_early",
    426: "https_required",
    431: "headers_too_large",
    451: "legal_reasons",
    511: "sign_in_to_network",
}
"""The codes of statuses that have no class of their own."""


_BODY_LIMIT = re.compile(
    r"\b(request|body|payload|entity|content|upload)\b.{0,40}\b(too (large|long|big)|size (limit )?exceed|size limit)",
    re.IGNORECASE | re.DOTALL,
)
"""What gateways say of a body that is too large for them. A sequencer names what is too large, and its limit."""


def status_error(response: Response, request: Request, retry_after: float | None) -> errors.APIStatusError:
    """The error for a status outside 2xx; ``retry_after`` is the seconds the server asked to wait."""
    status = response.status
    kind = _ERRORS.get(status) or (errors.ServerError if status >= 500 else errors.APIStatusError)
    code, params = _redirect(response, request) if 300 <= status < 400 else (_CODES.get(status), {})
    message, answer = _message(response)
    if (status == 413 and not answer) or (status in (400, 413) and _BODY_LIMIT.search(message)):
        code, message = "proxy_limit", "a proxy before the server refuses so large a body"
    if status == 401 and request.secret == NO_KEY.api_key:
        code = "key_needed"
    error = kind(
        one_line(without_signatures(redact(message, request.secret))),
        status_code=status,
        retry_after=retry_after,
        processed=answer.get("processed") is not False,
        task_id=request.task_id,
        code=code,
        params=params,
    )
    return error.derived(what="") if code == "key_needed" else error


def _message(response: Response) -> tuple[str, dict[str, Any]]:
    """The server's words, and its JSON object, which may be empty.

    They are ``message`` or ``error`` of that object, else the text, else the status in words.
    """
    text = response.body[:65536].decode("utf-8", "replace").strip()
    fields: dict[str, Any] = {}
    try:
        answer = json.loads(text)
        if isinstance(answer, dict):
            fields = answer
            message = next((answer[name] for name in ("message", "error", "msg", "detail") if answer.get(name)), None)
            if message is not None:
                return message if isinstance(message, str) else json.dumps(message), fields
    except (ValueError, RecursionError):
        answer = None
    if text and answer is None:
        return re.sub(r"<[^>]*>", " ", text) if text.startswith("<") else text, fields
    try:
        return HTTPStatus(response.status).phrase, fields
    except ValueError:
        return "no message", fields


def _redirect(response: Response, request: Request) -> tuple[str, dict[str, str]]:
    """Only the user can follow, because the key would go to another host. Never advise a full path or plain http."""
    try:
        link = Link.parse(response.headers.get("location", ""))
    except ValueError:
        return "redirected", {}
    if link.scheme != "https":
        return "redirected", {}
    return "redirected_to", {"address": one_line(redact(link.origin, request.secret))}
