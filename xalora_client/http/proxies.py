"""How a server is reached: the user's proxies and certificates."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import certifi

from ..errors import ConfigurationError, NetworkError
from ..protocol.urls import Link


def proxy_for(link: Link) -> Link | None:
    """The proxy to use, or None. Raises NetworkError for a proxy that cannot be used."""
    proxies = getproxies()
    address = proxies.get(link.scheme) or proxies.get("all")
    if not address or _goes_direct(link, proxies.get("no", "")):
        return None
    try:
        return Link.parse(address if "://" in address else f"http://{address}")
    except ValueError as error:
        what = f"No connection to {link.display_url}: its proxy setting cannot be used ({error})"
        raise NetworkError(what, sent="no", transient=False, code="proxy") from None


def _goes_direct(link: Link, exempt: str) -> bool:
    host = f"[{link.host}]" if ":" in link.host else link.host
    if proxy_bypass(f"{host}:{link.port}"):
        return True
    with suppress(ValueError):
        address = ip_address(link.host)
        for part in exempt.split(","):  # The standard library supports names here, but not networks.
            with suppress(ValueError):
                if address in ip_network(part.strip().strip("[]"), strict=False):
                    return True
    return False


def ssl_context() -> ssl.SSLContext:
    """A context that trusts the environment's certificates, else certifi's. Raises ConfigurationError."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    trusted = next(filter(None, map(os.environ.get, names)), None) or certifi.where()
    try:
        if Path(trusted).is_dir():
            return ssl.create_default_context(capath=trusted)
        return ssl.create_default_context(cafile=trusted)
    except OSError as error:
        raise ConfigurationError(
            f"The certificates in {trusted} cannot be read: {error.strerror}",
            advice="Correct REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE or SSL_CERT_DIR, or unset it.",
        ) from error
