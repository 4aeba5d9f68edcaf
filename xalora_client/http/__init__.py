"""HTTP for every part of the pack: one request, one connection, bounded in bytes and time.

``transport.py`` sends and fetches, ``upload.py`` sends bodies with progress, ``ssrf.py`` says which machines may be
contacted on behalf of a server, ``proxies.py`` finds the user's proxies and certificates. The version is here because
every request names it.
"""

__version__ = "0.1.0"
USER_AGENT = f"xalora-client/{__version__}"
