"""aiohttp's errors as ours, in fixed words: the other side's own words may contain anything."""

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


class CodingError(Exception):
    """The bytes are not in the announced coding, or the coding is unknown."""


FAILURES = (aiohttp.ClientError, HttpProcessingError, asyncio.TimeoutError, OSError, ValueError, CodingError)
"""What aiohttp raises or lets through."""

_NO_SUCH_NAME = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA")} - {None}
_UNREACHABLE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL, errno.ENETUNREACH, errno.EACCES, errno.EPERM}


def map_error(
    error: BaseException, link: Link, proxy: Link | None, *, sent: bool, reached: bool = False
) -> NetworkError:
    """The error to raise.

    ``sent`` says that a connection was made, so the request may have arrived. ``reached`` says that the host was
    reached before, so the failure may be transient.
    """
    may_have_arrived: Sent = "maybe" if sent else "no"
    if isinstance(error, asyncio.TimeoutError):
        start = "No answer from" if sent else "No connection to"
        return RequestTimeoutError(f"{start} {link.display_url} in time", sent=may_have_arrived)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        what = f"No secure connection to {link.display_url}: {_describe_tls(error.certificate_error)}"
        return NetworkError(what, sent="no", transient=False, code="certificate")
    if isinstance(error, aiohttp.ClientSSLError):
        what = f"No secure connection to {link.display_url}: {_describe_tls(getattr(error, 'os_error', error))}"
        return NetworkError(what, sent=may_have_arrived, code="certificate")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        what = f"No connection to {link.display_url}: the proxy answered {error.status}"
        if error.status in (401, 403, 405, 407):
            return NetworkError(what, sent="no", transient=False, code="proxy")
        return NetworkError(what, sent="no")
    if isinstance(error, aiohttp.ClientConnectorError):
        through = f"the proxy {proxy.origin} cannot be reached: " if proxy else ""
        what = f"No answer from {link.display_url}: {through}{_describe(error.os_error)}"
        return NetworkError(what, sent=may_have_arrived, transient=reached or not _is_final(error.os_error))
    return NetworkError(f"No answer from {link.display_url}: {_describe(error)}", sent=may_have_arrived)


def _is_final(error: OSError) -> bool:
    """Whether a host that was never reached will stay so. A server that restarts refuses connections instead."""
    return error.errno in (_NO_SUCH_NAME if isinstance(error, socket.gaierror) else _UNREACHABLE)


def _describe(error: BaseException) -> str:
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


def _describe_tls(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return "the connection was closed" if isinstance(error, ConnectionError) else _describe(error)
