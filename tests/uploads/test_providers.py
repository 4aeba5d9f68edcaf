"""The same bucket on Azure and Google: Azurite and gcp-storage-emulator speak their protocols.

The Google emulator has neither signed DELETE nor lists; there, what is tested is how an image gets to a miner.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import shutil
import sys
import urllib.request
from email.utils import formatdate
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.buckets import Process, fetch, images_of, picture
from xalora_client import AsyncClient, InputImage, StorageError, UpscalerTask
from xalora_client.http.upload import WebTransport
from xalora_client.uploads import Bucket

pytest.importorskip("obstore", reason='obstore is not installed; it comes with pip install ".[bucket]"')
ROOT = Path(__file__).parents[2]
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = base64.b64encode(b"a key for tests, of 64 bytes, as Azure's are" + b"." * 20).decode()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    places = [os.environ.get("AZURITE"), shutil.which("azurite-blob"), ROOT / "node_modules/.bin/azurite-blob"]
    command = next((str(each) for each in places if each and Path(each).exists()), None)
    if command is None:
        pytest.skip("Azurite is not installed: `npm install azurite`, or set AZURITE to its azurite-blob")
    os.environ["AZURITE_ACCOUNTS"] = f"{AZURE_ACCOUNT}:{AZURE_KEY}"
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
    server = Process(lambda port: [command, "--blobPort", str(port), *options], tmp_path_factory.mktemp("azurite"))
    make_container(server.url)
    yield server
    server.close()


def make_container(url):
    date = formatdate(usegmt=True)
    signed = f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:2021-08-06\n/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/images\n"
    digest = hmac.new(base64.b64decode(AZURE_KEY), f"{signed}restype:container".encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": "2021-08-06",
        "Content-Length": "0",
        "Authorization": f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}",
    }
    address = f"{url}/{AZURE_ACCOUNT}/images?restype=container"
    urllib.request.urlopen(urllib.request.Request(address, method="PUT", headers=headers)).close()


@pytest.fixture
def azure(azurite, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", AZURE_ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{azurite.url}/{AZURE_ACCOUNT}")
    return "az://images/prefix"


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory):
    if find_spec("gcp_storage_emulator") is None:
        pytest.skip('gcp-storage-emulator is not installed; it comes with pip install ".[bucket-test]"')
    program = "from gcp_storage_emulator.__main__ import main; import sys; sys.exit(main())"
    server = Process(
        lambda port: [sys.executable, "-c", program, "start", "--port", str(port), "--in-memory"],
        tmp_path_factory.mktemp("gcs"),
    )
    body = json.dumps({"name": "images"}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(
        urllib.request.Request(f"{server.url}/storage/v1/b?project=p", data=body, headers=headers, method="POST")
    ).close()
    yield server
    server.close()


@pytest.fixture
def google(gcs_server, tmp_path, monkeypatch):
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account", "client_email": "tests@project.iam.gserviceaccount.com", "private_key_id": "1",
        "private_key": key.decode(), "project_id": "p", "gcs_base_url": gcs_server.url,
    }  # fmt: skip
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
    return "gs://images/prefix"


@pytest.fixture(params=["azure", "google"])
def place(request):
    return request.getfixturevalue(request.param)


def test_an_image_gets_to_the_miner(place, counted, home, monkeypatch):
    monkeypatch.setenv("XALORA_BUCKET", place)
    monkeypatch.setenv("XALORA_BUCKET_KEEP", "1")
    content = picture(seed=3)

    async def create(workflow_id):
        async with AsyncClient("consumer-1#secret-key", counted.url, ledger=True) as client:
            image = InputImage.from_bytes(content)
            await client.execute_workflow(UpscalerTask(image, workflow_id=workflow_id, timeout_seconds=60))

    asyncio.run(create("one"))
    asyncio.run(create("two"))
    for address in images_of(counted):
        assert fetch(address) == (200, content)
    one, two = (address.partition("?")[0] for address in images_of(counted))
    assert one != two  # Each belongs to its job.
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"upscaler" in written
    assert b"sig=" not in written
    assert b"Signature" not in written


def test_an_image_is_gone_after_its_task_on_azure(azure, counted, monkeypatch):
    monkeypatch.setenv("XALORA_BUCKET", azure)

    async def make():
        async with AsyncClient("consumer-1#secret-key", counted.url, ledger=True) as client:
            await client.execute_workflow_and_wait_for_result(UpscalerTask(InputImage.from_bytes(picture(seed=4))))

    asyncio.run(make())
    assert fetch(images_of(counted)[0])[0] == 404


def test_azure_lists_and_removes(azure):
    async def use():
        bucket = Bucket(azure, {}, WebTransport())
        await bucket.put("folder/a.png", b"abc", "image/png")
        assert await bucket.has("folder/a.png")
        assert ("folder/a.png", 3) in [(each.name, each.size) for each in await bucket.list_objects()]
        await bucket.remove("folder/a.png")
        assert not await bucket.has("folder/a.png")

    asyncio.run(use())


@pytest.mark.parametrize("from_login", [True, False])
def test_links_to_azure_are_valid_where_the_clock_is_ahead(from_login, azure, monkeypatch):
    options = {}
    if from_login:
        options = {"account_name": AZURE_ACCOUNT, "account_key": AZURE_KEY}
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")

    async def use():
        bucket = Bucket(azure, options, WebTransport())
        await bucket.put("folder/a.png", b"abc", "image/png")
        link = await bucket.link("folder/a.png", 300)
        await bucket.remove("folder/a.png")
        return link

    query = parse_qs(urlsplit(asyncio.run(use())).query)
    assert "st" not in query
    assert "se" in query


def link_to_azure():
    return urlsplit(asyncio.run(Bucket("az://images/prefix", {}, WebTransport()).link("a.png", 300)))


def test_a_connection_string_names_the_cloud(monkeypatch):
    text = (
        f"DefaultEndpointsProtocol=https;AccountName=studio;AccountKey={AZURE_KEY};EndpointSuffix=core.chinacloudapi.cn"
    )
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert link_to_azure().netloc == "studio.blob.core.chinacloudapi.cn"


def test_a_connection_string_is_not_mixed_with_another_account(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=studio;AccountKey={AZURE_KEY}")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "https://other.blob.core.windows.net")
    assert link_to_azure().netloc == "studio.blob.core.windows.net"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "other")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"k" * 64).decode())
    assert link_to_azure().netloc == "other.blob.core.windows.net"


@pytest.mark.parametrize("how", ["connection string", "names of the az tool"])
def test_credentials_as_azures_own_tools_take_them(how, azure, azurite, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    if how == "connection string":
        monkeypatch.delenv("AZURE_STORAGE_ENDPOINT")
        stated = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": AZURE_ACCOUNT,
            "AccountKey": AZURE_KEY,
            "BlobEndpoint": f"{azurite.url}/{AZURE_ACCOUNT}",
        }
        text = ";".join(f"{name}={value}" for name, value in stated.items())
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{text};")
    else:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", AZURE_ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_KEY", AZURE_KEY)

    async def use():
        bucket = Bucket(azure, {}, WebTransport())
        await bucket.put("folder/a.png", b"abc", "image/png")
        link = await bucket.link("folder/a.png", 300)
        found = await asyncio.to_thread(fetch, link)
        await bucket.remove("folder/a.png")
        return link, found

    link, found = asyncio.run(use())
    assert found == (200, b"abc")
    assert "st" not in parse_qs(urlsplit(link).query)


@pytest.mark.parametrize(
    ("what", "match"),
    [("key", "credentials are not accepted.*AZURE_STORAGE_ACCOUNT_KEY"), ("container", "does not exist")],
)
def test_what_is_wrong_on_azure(what, match, azure, monkeypatch):
    if what == "key":
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"x" * 64).decode())
    else:
        azure = "az://not-there/prefix"
    with pytest.raises(StorageError, match=match):
        asyncio.run(Bucket(azure, {}, WebTransport()).has("folder/a.png"))
