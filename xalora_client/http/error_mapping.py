"""Network failures in fixed words, because the other side's own words may contain anything."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ..errors import NetworkError, RequestTimeoutError, Sent
from ..protocol.urls import Link
from .content_coding import CodingError

FAILURES = (aiohttp.ClientError, HttpProcessingError, asyncio.TimeoutError, OSError, ValueError, CodingError)
"""What aiohttp raises or lets through."""

_NO_SUCH_NAME = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA")} - {None}
_NO_WAY_THERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL, errno.ENETUNREACH, errno.EACCES, errno.EPERM}


def map_error(
    error: BaseException, link: Link, proxy: Link | None, *, sent: bool, reached: bool = False
) -> NetworkError:
    """The error to raise.

    ``sent`` says that a connection was made, so the request may have arrived. ``reached`` says that the host was
    reached before, so the failure may be temporary.
    """
    may_have_arrived: Sent = "maybe" if sent else "no"
    if isinstance(error, asyncio.TimeoutError):
        words = "No answer from" if sent else "No connection to"
        return RequestTimeoutError(f"{words} {link.display_url} in time", sent=may_have_arrived)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _failed("No secure connection to", link, _words_of_tls(error.certificate_error), "certificate")
    if isinstance(error, aiohttp.ClientSSLError):
        cause = getattr(error, "os_error", error)
        return NetworkError(
            f"No secure connection to {link.display_url}: {_words_of_tls(cause)}",
            sent=may_have_arrived,
            code="certificate",
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        said = f"the proxy answered {error.status}"
        if error.status in (401, 403, 405, 407):
            return _failed("No connection to", link, said, "proxy")
        return NetworkError(f"No connection to {link.display_url}: {said}", sent="no")
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        through = f"the proxy {proxy.origin} cannot be reached: " if proxy else ""
        return NetworkError(
            f"No answer from {link.display_url}: {through}{_words(cause)}",
            sent=may_have_arrived,
            transient=reached or not _is_final(cause),
        )
    return NetworkError(f"No answer from {link.display_url}: {_words(error)}", sent=may_have_arrived)


def _failed(what: str, link: Link, reason: str, code: str) -> NetworkError:
    return NetworkError(f"{what} {link.display_url}: {reason}", sent="no", transient=False, code=code)


def _is_final(error: OSError) -> bool:
    """Whether a host that was never reached will stay so. A server that restarts refuses connections instead."""
    return error.errno in (_NO_SUCH_NAME if isinstance(error, socket.gaierror) else _NO_WAY_THERE)


def _words(error: BaseException) -> str:
    match error:
        case socket.gaierror():
            return "its name is not known" if error.errno in _NO_SUCH_NAME else "its name could not be looked up"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without one"
        case aiohttp.ClientPayloadError():
            return "it broke off"
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return "what came back is not HTTP"
        case CodingError():
            return str(error)
        case OSError() if error.errno and error.errno > 0:
            return os.strerror(error.errno)
        case aiohttp.ClientOSError():  # Without a number, as while a body is sent.
            return "the connection broke"
    return type(error).__name__


def _words_of_tls(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return "the connection was closed" if isinstance(error, ConnectionError) else _words(error)
