"""TLS that fails, and hosts in other scripts."""

from __future__ import annotations

from tests.faults.network import PUBLIC
from tests.faults.steps import CLOSE, HONEST, RESET, SIGNATURE, SILENCE, TAKE, Case, Raw, Read, Reply, Silence

_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"
_HELLO_CUT = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"
_PICTURE = "https://{files}/media/picture.png"
_SECURE = ("sequencer",)

_HANDSHAKES = {
    "closed at once": CLOSE,
    "reset at once": RESET,
    "closed after the hello": (Read(), CLOSE),
    "reset after the hello": (Read(), RESET),
    "an alert": (Read(), Raw(_ALERT), CLOSE),
    "half a hello": (Read(), Raw(_HELLO_CUT), CLOSE),
    "an answer in plain": (Read(), Reply(400, b"speak TLS"), CLOSE),
    "an answer in plain, of a good one": (Read(), Reply(200, {"task_id": "alien"}), CLOSE),
    "garbage": (Read(), Raw(bytes(range(256)) * 4), CLOSE),
    "a record too long": (Read(), Raw(b"\x16\x03\x03\xff\xff" + b"\0" * 65535), CLOSE),
}
_HOSTS = {
    "bücher.example": "xn--bcher-kva.example",
    "BÜCHER.example": "xn--bcher-kva.example",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "例え.example": "xn--r8jz45g.example",
    "faß.example": "xn--fa-hia.example",
    "files。example": "files.example",
    "ＦＩＬＥＳ.example": "files.example",
    "FILES.EXAMPLE": "files.example",
    "files.example.": "files.example",
    "under_score.example": "under_score.example",
    "f%69les.example": "files.example",
    "a-b--c.example": "a-b--c.example",
    "1.2.3.example": "1.2.3.example",
}
_NO_HOSTS = ("\u200b.example", "xn--\u00fc.example", "a\u2024\u2024b.example", f"{'ü' * 64}.example", ".", "..", "-",
"a b", "a\x00b",
             "1.2.3.4.5", "256.256.256.256", "0x100000000", "[v1.x]", "[::1%25]", "%00.example", "a%2fb.example",
             "\u202eelpmaxe")  # fmt: skip

CASES = (
    Case("an authority that is not trusted", "NetworkError", untrusted=_SECURE, creates=0, at_once=True,
         says=("certificate",)),
    Case("a certificate of another name", "NetworkError",
         secure=_SECURE, certificate="other-name", creates=0, at_once=True, again="NetworkError", charges=0),
    Case("a certificate that has expired", "NetworkError",
         secure=_SECURE, certificate="expired", creates=0, at_once=True, again="NetworkError", charges=0),
    *(Case(f"handshake: {name}", "NetworkError", secure=_SECURE, accept=steps, creates=0)
      for name, steps in _HANDSHAKES.items()),
    Case("handshake: silence", "RequestTimeoutError", secure=_SECURE, accept=(Read(), Silence(40)), creates=0,
         slow=True,
         seconds=10),
    Case("plain http to a secure port", "NetworkError", secure=_SECURE, url="http://{sequencer}", creates=0),
    Case("all is well", secure=_SECURE),
    Case("a create whose answer is cut", "NetworkError", secure=_SECURE,
         create=((TAKE, Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"), RESET),), names_job=True),
    Case("a create whose answer never comes", "NetworkError", secure=_SECURE, create=((TAKE, CLOSE),), names_job=True),
    Case("an answer that ends with the connection", secure=_SECURE,
         create=((TAKE, Raw(b'HTTP/1.0 200 OK\r\n\r\n{"task_id": "t-1"}'), CLOSE),)),
    Case("file: an authority that is not trusted", "DownloadError", untrusted=("files",),
         result=f"{_PICTURE}?sig={SIGNATURE}", at_once=True),
    Case("file: a certificate of another name", "DownloadError", secure=("files",), certificate="other-name",
         again="DownloadError", at_once=True),
    Case("file: secure", secure=("files",), result=_PICTURE),
    Case("file: secure, broken once", secure=("files",),
         file=((Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx"), RESET), HONEST)),
    *(Case(f"file: handshake, {name}", "DownloadError", secure=("files",), result=_PICTURE, file_accept=steps)
      for name, steps in _HANDSHAKES.items()),
    Case("file: handshake, silence", "DownloadError", secure=("files",), file_accept=(Read(), SILENCE), slow=True,
         seconds=20),
    Case("file: plain on a secure port", "DownloadError", secure=("files",), result="http://{files}/x.png"),
    *(Case(f"a file on host {host}", public=True, result=f"http://{host}:{{files.port}}/media/picture.png",
           names={name: (PUBLIC,)}) for host, name in _HOSTS.items()),
    *(Case(f"a sequencer on host {host}", public=True, url=f"http://{host}:{{sequencer.port}}", names={name: (PUBLIC,)})
      for host, name in list(_HOSTS.items())[::3]),
    *(Case(f"a file on no host: {host!a:.30}", "DownloadError",
           result=f"http://{host}:{{files.port}}/x.png", at_once=True) for host in _NO_HOSTS),
    *(Case(f"a sequencer on no host: {host!a:.30}", "ConfigurationError or NetworkError",
           url=f"http://{host}:{{sequencer.port}}", creates=0, at_once=True) for host in _NO_HOSTS),
)  # fmt: skip
