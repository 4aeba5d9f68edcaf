"""Proxies and certificate authorities from the environment, read one way for both transports.

The variables are those requests and OpenSSL know: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY`` in
either case, and ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``, ``SSL_CERT_FILE``, ``SSL_CERT_DIR``.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterable
from pathlib import Path

import certifi
from requests.utils import get_environ_proxies, select_proxy

from ..errors import ConfigurationError
from ..protocol.requests import HIDDEN, Response
from ..version import USER_AGENT

HEADERS = {"User-Agent": USER_AGENT, "Accept": "application/json"}
SEND_HEADERS = HEADERS | {"Content-Type": "application/json"}
FETCH_HEADERS = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}

CHUNK = 64 * 1024
LONGEST_ERROR_PAGE = 64 * 1024

CONNECT_TIMEOUT = 15.0
"""Seconds to make a connection. Well under a request's own timeout, so that "never connected" can be told apart."""


CERTIFICATE_ADVICE = "If a proxy or company certificate is in use, set REQUESTS_CA_BUNDLE to its file."


def proxy_for(url: str) -> str | None:
    """The proxy to go through to reach the URL, or None."""
    proxy: str | None = select_proxy(url, get_environ_proxies(url))
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def certificate_authorities() -> str:
    """The file or folder of certificates to trust: the environment's, else certifi's."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        if os.environ.get(name):
            return os.environ[name]
    return certifi.where()


def ssl_context() -> ssl.SSLContext:
    """A context that trusts those authorities. Raises ConfigurationError where they cannot be read."""
    trusted = certificate_authorities()
    try:
        if Path(trusted).is_dir():
            return ssl.create_default_context(capath=trusted)
        return ssl.create_default_context(cafile=trusted)
    except OSError as error:
        raise ConfigurationError(
            f"The certificates in {trusted} cannot be read: {error.strerror}",
            advice="Correct REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE or SSL_CERT_DIR, or unset it.",
        ) from error


def unsigned(text: object, url: str) -> str:
    """The text without the URL's query, which may hold a signature that opens the file to everyone."""
    query = url.partition("?")[2]
    return str(text).replace(query, HIDDEN) if query else str(text)


def answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Response:
    """A Response as the protocol code wants it."""
    return Response(status, {name.lower(): value for name, value in headers}, body, time.time())
