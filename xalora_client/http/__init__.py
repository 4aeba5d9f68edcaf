"""HTTP for every part of the pack: one request, one connection, bounded in bytes and time.

``transport.py`` sends and fetches, ``upload.py`` sends bodies with progress, ``ssrf.py`` says which machines may be
contacted on behalf of a server, ``proxies.py`` finds the user's proxies and certificates. The version is here because
every request names it.
"""

import logging
import os

__version__ = "0.1.0"
USER_AGENT = f"xalora-client/{__version__}"

if _key_log := os.environ.get("SSLKEYLOGFILE"):
    try:
        os.close(os.open(_key_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    except OSError as _error:  # With it, Python makes no TLS context at all, and aiohttp cannot be imported.
        logging.getLogger("xalora_client").warning("SSLKEYLOGFILE is ignored: %s: %s", _key_log, _error.strerror)
        del os.environ["SSLKEYLOGFILE"]
