"""Whom a download contacts, what it asks for there, and what it carries along."""

from __future__ import annotations

from tests.faults.steps import CLOSE, HONEST, PASSWORD, SIGNATURE, Case, Raw, Reply

_METADATA = (
    "169.254.169.254", "2852039166", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.254.43518",
    "169.16689662", "%31%36%39.254.169.254", "１６９.２５４.１６９.２５４", "169。254。169。254", "169.254.169.254.",
    "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[fe80::1]", "[fe80::1%25lo]", "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]", "[::a9fe:a9fe]", "[fd00:ec2::254]", "100.100.100.200", "169.254.0.1",
    "files.example@169.254.169.254", "127.0.0.1%40169.254.169.254", "metadata.example", "METADATA.example.",
)  # fmt: skip
_INSIDE = (
    "127.0.0.1", "127.0.0.2", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.0.0.1.",
    "%31%32%37.0.0.1", "１２７.０.０.１", "127。0。0。1", "ⓛocalhost", "localhost", "LOCALHOST", "localhost.",
    "x.localhost",
    "0.0.0.0", "0", "0x0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.7", "10.7", "0xA000007", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "192.168.257", "100.64.0.1", "[fc00::1]", "[fd12:3456::1]", "[fec0::1]", "[::ffff:10.0.0.7]",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.1", "198.18.0.1", "[ff02::1]",
    "inside.example", "INSIDE.example", "private.example", "files.example@127.0.0.1", "sequencer", "router.local",
    "metadata.google.internal",
)  # fmt: skip
_REDIRECTED_TO = ("127.0.0.1", "2130706433", "[::1]", "10.0.0.7", "localhost", "inside.example", "0.0.0.0")
_PICTURE = "http://files.example:{files.port}/media/picture.png"
_PUBLIC = "http://elsewhere.example:{elsewhere.port}/start"


def _to(location: str, status: int = 302) -> Reply:
    return Reply(status, b"moved", {"Location": location})


_TARGETS = (
    "/a%2Fb.png", "/~user/x.png", "/x:@,;=.png", "/a/../b.png", "/a/./b.png", "/%7euser/x.png", "/%7Euser/x.png",
    "/%e4%bd%a0.png", f"/x.png?sig={SIGNATURE}%2Fb+c%3D&X=%2f", "/x.png?a=b;c=d&&e", "/100%25.png", "/100%.png",
    "/a//b.png",
    "//a.png", "/x.png?", "/?", "/", "/x.png?a=%20b", "/x.png?a=+b", "/x.png?%61=%62", "/(x)'!*.png", "/[x].png",
    "/x|y^z.png",
    "/%2e%2e/x.png", "/..%2fx.png", "/.%2e/x.png", "/x.png?q=http://a/b?c=d", "/x.png?a=b#", "/x%23y.png",
    "/x%3Fy.png", "/x.png?%",
    "/%zz.png", "/x.png;v=1?y", "/$&'()*+,;=:@.png", "/x.png?sig=AbC%2BdEf%2F%3d%3D", '/"x".png', "/{x}.png",
    "/`x`.png",
    "/x.png?a[]=b", "/x.png?&", "/x.png?=", "/x\\y.png", "/...png", "/x.png/", "/%C3%BC%2525.png",
)  # fmt: skip
_ENCODED = {
    "/ü.png?ä=ö": "/%C3%BC.png?%C3%A4=%C3%B6",
    "/你好.png": "/%E4%BD%A0%E5%A5%BD.png",
    "/a b.png?c d": "/a%20b.png?c%20d",
    "/%C3%BC-ü.png": "/%C3%BC-%C3%BC.png",
    "/😀.png": "/%F0%9F%98%80.png",
    "/x.png#part": "/x.png",
    "/x.png?a#b?c": "/x.png?a",
}
_RELATIVE = {
    "y.png": "/media/y.png",
    "../y.png": "/y.png",
    "./y.png": "/media/y.png",
    "/y%2fz.png": "/y%2fz.png",
    "?v=%2f2": "/media/x.png?v=%2f2",
    "//{files}/y.png": "/y.png",
}
_LOGIN = "Basic bWU6Y2FuYXJ5LXBhc3N3b3JkLWMwZGU5OQ=="

CASES = (
    Case("a sequencer here names a file here"),
    Case("a sequencer on the internet names a file there", public=True),
    Case("a sequencer here names a file on the internet", result=_PICTURE, contacts=("93.184.216.34",)),
    *(Case(f"a sequencer here names {host}", "DownloadError", result=f"http://{host}/latest/meta-data", at_once=True)
      for host in _METADATA),
    *(Case(f"a sequencer on the internet names {host}", "DownloadError",
           public=True, result=f"http://{host}:{{files.port}}/x.png", at_once=True)
           for host in _METADATA[:1] + _INSIDE),
    *(Case(f"a file here leads to {host}", "DownloadError", file=(_to(f"http://{host}/latest/meta-data"),),
           at_once=True)
      for host in _METADATA[::3]),
    *(Case(f"a file on the internet leads to {host}", "DownloadError",
           public=True, file=(_to(f"http://{host}:{{elsewhere.port}}/x.png"),), at_once=True)
           for host in _REDIRECTED_TO),
    Case("a name is here and on the internet", "success or DownloadError", public=True,
         result="http://mixed.example:{files.port}/x.png", names={"mixed.example": ("127.0.0.1", "93.184.216.34")}),
    Case("the second redirect leads inside", "DownloadError", public=True, file=(_to(_PUBLIC),),
         elsewhere=(_to("http://127.0.0.1:{files.port}/"),)),
    *(Case(f"a link to the byte: {target}", result=f"http://{{files}}{target}", target=target.partition("#")[0])
      for target in _TARGETS),
    *(Case(f"a link to the byte, redirected: {target}", result="http://{elsewhere}/start",
           elsewhere=(_to(f"http://{{files}}{target}"),), target=target.partition("#")[0]) for target in _TARGETS[::2]),
    *(Case(f"a link to the byte, redirected on the same host: {target}", result="http://{files}/start",
           file=(_to(target), HONEST), target=target.partition("#")[0])
      for target in _TARGETS[::6]),
    *(Case(f"a link encoded once: {raw}", result=f"http://{{files}}{raw}", target=target)
      for raw, target in _ENCODED.items()),
    *(Case(f"a link encoded once, redirected: {raw}", result="http://{elsewhere}/start",
           elsewhere=(_to(f"http://{{files}}{raw}"),), target=target) for raw, target in _ENCODED.items()),
    *(Case(f"a relative redirect: {raw}", result="http://{files}/media/x.png", file=(_to(raw), HONEST), target=target)
      for raw, target in _RELATIVE.items()),
    Case("a link in an object", result={"url": "http://{files}/a%2fb.png"}, target="/a%2fb.png"),
    Case("a link with blanks around", result=" \n http://{files}/a.png\t", target="/a.png"),
    Case("a link in capitals", result="HTTP://{files}/A.png", target="/A.png"),
    Case("a link without a path", result="http://{files}?sig=%2f", target="/?sig=%2f"),
    *(Case(f"a redirect by {status}", result="http://{elsewhere}/start",
           elsewhere=(_to("http://{files}/x.png", status),),
           target="/x.png") for status in (301, 302, 303, 307, 308)),
    Case("redirects in a circle", "DownloadError", file=(_to("http://{files}/again"),)),
    Case("two servers that send to each other", "DownloadError",
         file=(_to("http://{elsewhere}/x"),), elsewhere=(_to("http://{files}/x"),)),
    *(Case(f"a redirect to {location!a:.50}", "DownloadError", file=(_to(location),), at_once=True)
      for location in ("http://", "file:///etc/passwd", "ftp://{files}/x", "data:image/png;base64,AAAA", "http://[::1",
                       "javascript:alert(1)", "http://:80/", "gopher://{files}/", "http://{files}:0/",
                       "mailto:a@b.example",
                       "unix:/run/x.sock", "http:///x", "https:x")),
    Case("a redirect without a place", "DownloadError", file=(Reply(302, b"moved"),)),
    Case("a redirect from https to http", "DownloadError", secure=("files",),
         file=(_to("http://{elsewhere}/x.png"),), at_once=True),
    Case("a redirect from http to https", secure=("elsewhere",), file=(_to("https://{elsewhere}/x.png"), HONEST)),
    Case("a secure sequencer names a plain address", secure=("sequencer",), logs="http"),
    Case("everything is secure", secure=("sequencer", "files")),
    Case("cookies with each answer", file=((_to("http://{files}/x.png"), ), HONEST),
         create=(Reply(200, {"task_id": "t-1"}, {"Set-Cookie": "a=b; Path=/"}),), charges=0,
         query=(Reply(503, b"", {"Set-Cookie": "c=d; Path=/"}), HONEST)),
    Case("a cookie with a redirect", file=(Reply(302, b"", {"Set-Cookie": "a=b", "Location": "http://{files}/x.png"}),
         HONEST)),
    Case("a cookie for a download that breaks", file=(
        (Raw(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 10\r\n\r\nabc"), CLOSE), HONEST)),
    Case("a login in a link", result=f"http://me:{PASSWORD}@{{files}}/x.png", authorization=_LOGIN, target="/x.png"),
    Case("a login in a link that is refused", "DownloadError",
         result=f"http://me:{PASSWORD}@{{files}}/x.png", file=(Reply(403),), authorization=_LOGIN),
    Case("a login in a link that breaks off", "DownloadError", result=f"http://me:{PASSWORD}@{{files}}/x.png",
         file=(CLOSE,), authorization=_LOGIN),
    Case("a login in a link to nobody", "DownloadError", result=f"http://me:{PASSWORD}@{{nobody}}/x.png"),
    Case("a login in a link that leads elsewhere", result=f"http://me:{PASSWORD}@{{files}}/x.png",
         file=(_to("http://{elsewhere}/x.png"),), authorization=_LOGIN),
    Case("a login in a redirect", result="http://{elsewhere}/start",
         elsewhere=(_to(f"http://me:{PASSWORD}@{{files}}/x.png"),), authorization=_LOGIN),
    Case("a login in a redirect to an unsafe place", "DownloadError",
         file=(_to(f"ftp://me:{PASSWORD}@{{files}}/x.png"),), at_once=True),
    Case("a login in an impossible redirect", "DownloadError", file=(_to(f"http://me:{PASSWORD}@[::1/x.png"),),
         at_once=True),
    Case("a signature in a link that is refused", "DownloadError",
         result=f"http://{{files}}/x.png?sig={SIGNATURE}", file=(Reply(403, SIGNATURE.encode()),)),
    Case("a signature in a link to nobody", "DownloadError", result=f"http://{{nobody}}/x.png?sig={SIGNATURE}"),
    Case("a signature in a link that breaks off", "DownloadError", result=f"http://{{files}}/x.png?sig={SIGNATURE}",
         file=(CLOSE,)),
    Case("a signature in a redirect to an unsafe place", "DownloadError",
         file=(_to(f"ftp://{{files}}/x?sig={SIGNATURE}"),)),
    Case("a signature in a link to no media", "DecodeError",
         result=f"http://{{files}}/x.png?sig={SIGNATURE}", file=(Reply(200, b"<html></html>"),)),
    Case("a signature in an impossible link", "DownloadError", result=f"http://a b/x.png?sig={SIGNATURE}"),
    *(Case(f"a result that is no address: {result!a:.40}", "DownloadError", result=result, at_once=True)
      for result in (None, "", " ", 7, [], {}, {"url": None}, ["http://{files}/x.png"], "file:///etc/passwd",
                     "data:image/png;base64,iVBORw0KGgo=", "ftp://{files}/x.png", "javascript:x",
                     {"url": {"url": "x"}})),
)  # fmt: skip
