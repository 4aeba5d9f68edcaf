"""Certificates made for one run: an authority, and servers' of it, of another one, and such as do not fit."""

from __future__ import annotations

import atexit
import functools
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

_EXTENSIONS = """
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
[req]
distinguished_name = nobody
[nobody]
"""
_NAMES = "IP:127.0.0.1, DNS:localhost, DNS:sequencer.example, DNS:files.example"


def available() -> bool:
    """Whether there is a program to make certificates with."""
    return shutil.which("openssl") is not None


@functools.lru_cache(maxsize=1)
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="xalora-faults-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for authority in ("trusted", "unknown"):
        _make(folder, authority, "authority", _NAMES, "-signkey", f"{authority}.key")
        _make_signed(folder, f"{authority}-server", authority)
    _make_signed(folder, "other-name", "trusted", names="DNS:somebody-else.example")
    _make_signed(folder, "expired", "trusted", days="-1")
    return folder


def _make_signed(folder: Path, name: str, authority: str, names: str = _NAMES, days: str = "2") -> None:
    number = str(sum(name.encode()))
    by = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-set_serial", number)
    _make(folder, name, "server", names, *by, days=days)


def _make(folder: Path, name: str, kind: str, names: str, *signing: str, days: str = "2") -> None:
    (folder / "x.cnf").write_text(_EXTENSIONS.format(names=names))
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    _openssl(folder, "req", "-new", "-config", "x.cnf", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", "x.csr")
    extensions = ("-extfile", "x.cnf", "-extensions", kind)
    _openssl(folder, "x509", "-req", "-in", "x.csr", *extensions, *signing, "-days", days, "-out", f"{name}.pem")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def authority(name: str = "trusted") -> str:
    """The file of an authority's certificate: "trusted" or "unknown"."""
    return str(_folder() / f"{name}.pem")


@functools.lru_cache(maxsize=8)
def context(name: str = "trusted-server") -> ssl.SSLContext:
    """What a server speaks TLS with: "trusted-server", "unknown-server", "other-name" or "expired"."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(_folder() / f"{name}.pem", _folder() / f"{name}.key")
    return made


def server_files(name: str = "trusted-server") -> tuple[str, str]:
    """The files of a server's certificate and key, for another process."""
    return str(_folder() / f"{name}.pem"), str(_folder() / f"{name}.key")
