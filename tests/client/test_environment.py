"""Proxies and certificate authorities come from the usual variables, alike in both clients; ~/.netrc does not."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess

import certifi
import pytest

from tests.faults import certificates
from tests.faults.network import PUBLIC, Network
from tests.support.fake_file_server import File
from tests.support.fake_sequencer import Answer, FakeSequencer
from tests.support.loopback import deaf_url
from tests.support.proxy import Proxy
from xalora_client import (
    AuthenticationError,
    ConfigurationError,
    DownloadError,
    NetworkError,
    TaskStatus,
    Text2VideoTask,
    WorkflowTaskResult,
    XaloraError,
)
from xalora_client.http import proxies
from xalora_client.http.proxies import proxy_for, ssl_context
from xalora_client.miner.comfyui import ComfyUI
from xalora_client.protocol.urls import Link

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def no_certificates_of_this_machine(monkeypatch):
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def public():
    """The servers of this machine also have the address 93.184.216.34, and names: no proxy is used for loopback."""
    with Network({"sequencer.example": (PUBLIC,)}).watched():
        yield lambda url: url.replace("127.0.0.1", PUBLIC)


@pytest.fixture
def proxy():
    server = Proxy()
    yield server
    server.close()


def query(client):
    return client.query_task_result("t1")


def asked_through(proxy, sequencer):
    return proxy.targets() == [("POST", f"{sequencer.url}/task_result_query")] and len(sequencer.seen) == 1


class TestProxies:
    @pytest.fixture(autouse=True)
    def elsewhere(self, subject, sequencer, public):
        subject.options["workflow_url"] = sequencer.url = public(sequencer.url)

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
    def test_requests_go_through_it(self, subject, sequencer, proxy, monkeypatch, name):
        monkeypatch.setenv(name, proxy.url)
        assert subject.do(query).status == "finished"
        assert asked_through(proxy, sequencer)
        assert sequencer.seen[0].headers["user-agent"] == "xalora-client/0.1.0"

    def test_an_address_without_a_scheme(self, subject, sequencer, proxy, monkeypatch):
        monkeypatch.setenv("http_proxy", proxy.address)
        assert subject.do(query).status == "finished"
        assert asked_through(proxy, sequencer)

    def test_downloads_go_through_it(self, subject, files, proxy, public, monkeypatch):
        monkeypatch.setenv("http_proxy", proxy.url)
        url = public(files.serve("/x.png", File(b"not for you", 451)))
        with pytest.raises(DownloadError, match="451"):
            subject.do(lambda c: c.download(WorkflowTaskResult("t1", TaskStatus.FINISHED, media_url=url)))
        assert proxy.targets() == [("GET", url)]

    def test_a_login_for_the_proxy_stays_with_the_proxy(self, subject, sequencer, proxy, monkeypatch):
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@{proxy.address}")
        subject.do(query)
        assert proxy.seen[0][2]["proxy-authorization"] == "Basic bWU6cEBzcw=="
        assert not {"proxy-authorization", "authorization"} & set(sequencer.seen[0].headers)

    @pytest.mark.parametrize("exempt", [PUBLIC, "*", "example.com,93.184.0.0/16", f"example.com, {PUBLIC}"])
    @pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
    def test_what_needs_no_proxy_gets_none(self, subject, sequencer, proxy, monkeypatch, name, exempt):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv(name, exempt)
        assert subject.do(query).status == "finished"
        assert proxy.seen == []

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
    @pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
    def test_this_machine_needs_none(self, proxy, monkeypatch, name, host):
        monkeypatch.setenv(name, proxy.url)
        assert proxy_for(Link.parse(f"http://{host}:8787/task_create")) is None

    def test_other_hosts_still_need_it(self, subject, sequencer, proxy, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "example.com,10.0.0.0/8")
        subject.do(query)
        assert asked_through(proxy, sequencer)

    def test_one_for_https_is_not_used_for_http(self, subject, proxy, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert subject.do(query).status == "finished"
        assert proxy.seen == []

    def test_the_variables_are_read_at_each_request(self, subject, sequencer, proxy, monkeypatch):
        def first_without(client):
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            return query(client)

        subject.do(query)
        subject.do(first_without)
        assert len(sequencer.seen) == 2
        assert len(proxy.seen) == 1

    def test_what_it_refuses_is_the_servers_answer(self, subject, sequencer, proxy, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        proxy.refusal = 401
        with pytest.raises(AuthenticationError):
            subject.do(query)
        assert sequencer.seen == []

    def test_one_that_is_not_there(self, subject, sequencer, monkeypatch):
        with deaf_url() as url:
            monkeypatch.setenv("HTTP_PROXY", url)
            with pytest.raises(NetworkError, match="proxy") as caught:
                subject.do(lambda c: c.execute_workflow(Text2VideoTask("a rabbit")))
        assert caught.value.sent == "no"
        assert len(subject.clock.sleeps) >= 3  # So it was safe to try again.
        assert sequencer.seen == []

    @pytest.mark.parametrize("address", ["socks5://127.0.0.1:1", "ftp://127.0.0.1:1", "http://127.0.0.1:x", "http://["])
    def test_one_of_a_kind_that_cannot_be_used(self, subject, sequencer, monkeypatch, address):
        monkeypatch.setenv("ALL_PROXY", address)
        with pytest.raises(NetworkError, match="its proxy setting"):
            subject.do(query)
        assert sequencer.seen == []


@pytest.fixture(scope="session")
def authorities(tmp_path_factory):
    """A folder with an authority (ca.pem), and hashed/ with it too."""
    if not certificates.available():
        pytest.skip("there is no openssl command to make certificates with")
    folder = tmp_path_factory.mktemp("authorities")
    (folder / "hashed").mkdir()
    for each in (folder, folder / "hashed"):
        shutil.copy(certificates.authority(), each / "ca.pem")
    subprocess.run(["openssl", "rehash", "hashed"], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture
def secure(authorities, subject):
    """A sequencer with a certificate of our own authority; the subject talks to it."""
    server = FakeSequencer()
    server.server.socket = certificates.context().wrap_socket(server.server.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    subject.options["workflow_url"] = server.url
    yield server
    server.close()


class TestCertificates:
    @pytest.mark.parametrize("name", CA_VARIABLES)
    def test_an_authority_of_ones_own_is_trusted(self, subject, secure, authorities, monkeypatch, name):
        monkeypatch.setenv(name, str(authorities / ("hashed" if name == "SSL_CERT_DIR" else "ca.pem")))
        assert subject.do(query).status == "finished"

    def test_so_is_one_that_the_system_trusts(self, subject, secure, authorities, monkeypatch):
        monkeypatch.setattr(proxies, "SYSTEM_BUNDLES", ["not there", str(authorities / "ca.pem")])
        assert subject.do(query).status == "finished"

    def test_certifis_are_trusted_beside_the_systems(self):
        trusted = ssl_context().get_ca_certs(binary_form=True)
        of_certifi, of_system = ssl.create_default_context(cafile=certifi.where()), ssl.create_default_context()
        for each in (of_certifi, of_system):
            assert set(each.get_ca_certs(binary_form=True)) <= set(trusted)

    def test_a_bundle_may_be_a_folder(self, subject, secure, authorities, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authorities / "hashed"))
        assert subject.do(query).status == "finished"

    def test_the_first_variable_that_is_set_counts(self, subject, secure, authorities, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authorities / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", ssl.get_default_verify_paths().openssl_cafile)
        assert subject.do(query).status == "finished"

    @pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", None])
    def test_a_miner_trusts_them_too(self, secure, authorities, monkeypatch, name):
        async def ask():
            async with ComfyUI(secure.url) as comfyui:
                return await comfyui.system_stats()

        secure.script("system_stats", Answer({"system": {"comfyui_version": "0.33.0"}}))
        with pytest.raises(XaloraError, match=r"certificate is not trusted.*REQUESTS_CA_BUNDLE"):
            asyncio.run(ask())
        if name:
            monkeypatch.setenv(name, str(authorities / "ca.pem"))
        else:
            monkeypatch.setattr(proxies, "SYSTEM_BUNDLES", [str(authorities / "ca.pem")])
        assert asyncio.run(ask())["comfyui"] == "0.33.0"

    def test_others_are_refused_and_it_is_said_what_to_do(self, subject, secure):
        with pytest.raises(NetworkError, match="REQUESTS_CA_BUNDLE") as caught:
            subject.do(query)
        assert "certificate" in str(caught.value)
        assert secure.seen == []

    def test_a_create_that_was_refused_is_known_not_to_exist(self, subject, secure):
        with pytest.raises(NetworkError, match="REQUESTS_CA_BUNDLE") as caught:
            subject.do(lambda c: c.execute_workflow(Text2VideoTask("a rabbit")))
        assert caught.value.sent == "no"
        assert "may have been created" not in str(caught.value)

    def test_a_certificate_that_is_not_trusted_now_is_not_in_a_minute_either(self, subject, secure):
        with pytest.raises(NetworkError):
            subject.do(lambda c: c.execute_workflow_and_wait_for_result(Text2VideoTask("a rabbit"), timeout=900))
        assert subject.clock.sleeps == []

    def test_another_hosts_certificate_is_refused(self, subject, secure, authorities, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(authorities / "ca.pem"))
        subject.options["workflow_url"] = secure.url.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises(NetworkError, match=r"127\.0\.0\.2"):
            subject.do(query)
        assert secure.seen == []

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_a_bundle_that_cannot_be_read(self, subject, secure, tmp_path, monkeypatch, content):
        bundle = tmp_path / "bundle.pem"
        if content:
            bundle.write_text(content)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        with pytest.raises(ConfigurationError, match=r"bundle\.pem.*REQUESTS_CA_BUNDLE"):
            subject.do(query)
        assert secure.seen == []

    def test_which_nobody_asks_for_where_there_is_nothing_to_secure(self, subject, tmp_path, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "left over from an old installation.pem"))
        assert subject.do(query).status == "finished"

    @pytest.fixture
    def named(self, public, secure, subject):
        subject.options["workflow_url"] = secure.url = secure.url.replace("127.0.0.1", "sequencer.example")
        return secure

    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
    def test_a_proxy_tunnels_and_sees_nothing(self, subject, named, authorities, proxy, monkeypatch, name):
        monkeypatch.setenv("SSL_CERT_FILE", str(authorities / "ca.pem"))
        monkeypatch.setenv(name, proxy.url)
        assert subject.do(query).status == "finished"
        assert proxy.targets() == [("CONNECT", named.url.removeprefix("https://"))]
        assert "secret-key" not in str(proxy.seen)

    def test_a_proxy_that_opens_no_tunnel(self, subject, named, authorities, proxy, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(authorities / "ca.pem"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://bob:passphrase@{proxy.address}")
        proxy.refusal = 407
        with pytest.raises(NetworkError, match="407") as caught:
            subject.do(lambda c: c.execute_workflow(Text2VideoTask("a rabbit")))
        assert caught.value.sent == "no"
        assert "passphrase" not in str(caught.value)
        assert named.seen == []


@pytest.mark.parametrize("variable", [False, True], ids=["~/.netrc", "NETRC"])
def test_logins_of_other_programs_are_not_used(subject, sequencer, files, tmp_path, monkeypatch, variable):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    if variable:
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    subject.do(query)
    url = files.serve("/x.png", File(b"not for you", 451))
    with pytest.raises(DownloadError):
        subject.do(lambda c: c.download(WorkflowTaskResult("t1", TaskStatus.FINISHED, media_url=url)))
    assert "authorization" not in sequencer.seen[0].headers
    assert "authorization" not in files.seen[0].headers
