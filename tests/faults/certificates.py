"""Certificates made for one run: an authority, and servers' of it, of another one, and such as do not fit."""

from __future__ import annotations

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
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="xalora-faults-", ignore_cleanup_errors=True)
    for authority in ("trusted", "unknown"):
        _make(
            Path(folder.name), authority, f"{authority} authority", "authority", _NAMES, "-signkey", f"{authority}.key"
        )
        _signed(Path(folder.name), f"{authority}-server", authority, _NAMES)
    _signed(Path(folder.name), "other-name", "trusted", "DNS:somebody-else.example")
    _signed(
        Path(folder.name),
        "expired",
        "trusted",
        _NAMES,
        "-not_before",
        "20200101000000Z",
        "-not_after",
        "20200102000000Z",
    )
    return folder


def _signed(folder: Path, name: str, authority: str, names: str, *validity: str) -> None:
    by = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-set_serial", str(sum(name.encode())))
    _make(folder, name, name, "server", names, *by, validity=validity)


def _make(
    folder: Path, name: str, subject: str, kind: str, names: str, *signing: str, validity: tuple[str, ...] = ()
) -> None:
    (folder / "x.cnf").write_text(_EXTENSIONS.format(names=names))
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    _openssl(
        folder, "req", "-new", "-config", "x.cnf", "-key", f"{name}.key", "-subj", f"/CN={subject}", "-out", "x.csr"
    )
    request = ("x509", "-req", "-in", "x.csr", "-extfile", "x.cnf", "-extensions", kind, "-out", f"{name}.pem")
    _openssl(folder, *request, *signing, *(validity or ("-days", "2")))


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def authority(name: str = "trusted") -> str:
    """The file of an authority's certificate: "trusted" or "unknown"."""
    return str(Path(_folder().name) / f"{name}.pem")


@functools.lru_cache(maxsize=8)
def context(name: str = "trusted-server") -> ssl.SSLContext:
    """What a server speaks TLS with: "trusted-server", "unknown-server", "other-name" or "expired"."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(f"{_folder().name}/{name}.pem", f"{_folder().name}/{name}.key")
    return made
