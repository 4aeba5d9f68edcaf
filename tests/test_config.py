"""Where settings come from, and where the key never goes."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE, ROOT, bare_environment
from xalora_client import AsyncClient, Client, ConfigurationError, StorageError, config
from xalora_client.config import validation
from xalora_client.config.settings import read_settings
from xalora_client.protocol.requests import Credentials, Sequencer

KEY = "consumer#a-secret-key"


@pytest.mark.parametrize(
    ("combined", "consumer", "key"),
    [
        ("me#secret", "me", "secret"), ("me-secret", "me", "secret"), ("me#a#b", "me", "a#b"),
        ("me-a-b", "me", "a-b"), ("my-team#a-b", "my-team", "a-b"), (" me#k\n", "me", "k"),
    ],
)  # fmt: skip
def test_a_key_is_split_once(combined, consumer, key):
    credentials = Credentials.parse(combined)
    assert (credentials.consumer_id, credentials.api_key) == (consumer, key)


PASTED = [
    "'{}'",
    '"{}"',
    "`{}`",
    "\u201c{}\u201d",
    "\u2018{}\u2019",
    "\u201e{}\u201c",
    "\u00ab {} \u00bb",
    "\u300c{}\u300d",
]
PASTED += [
    "\ufeff{}",
    "{}\u200b",
    "\u200e{}\u200f",
    "\u2060{}\u00ad",
    "\u00a0{}\u3000",
    "\t'{}' \r\n",
    '\ufeff"{}"\u200d',
]


@pytest.mark.parametrize("around", PASTED, ids=ascii)
def test_what_comes_along_when_a_setting_is_copied_is_dropped(around, monkeypatch):
    """Quotes of an env file, blanks, a byte order mark, and what cannot be seen."""
    for name, value in {"API_KEY": KEY, "WORKFLOW_URL": "http://10.0.0.1:87", "BUCKET": "s3://name/prefix"}.items():
        monkeypatch.setenv(f"XALORA_{name}", around.format(value))
    loaded = config.load()
    assert (loaded.credentials.consumer_id, loaded.credentials.api_key) == ("consumer", "a-secret-key")
    assert (loaded.workflow_url, loaded.bucket) == ("http://10.0.0.1:87", "s3://name/prefix")
    with Client(around.format(KEY), "http://10.0.0.1:87") as client:
        assert client.config.credentials.api_key == "a-secret-key"


def test_nothing_of_a_key_itself_is_dropped():
    assert Credentials.parse('me#it\'s "so" long').api_key == 'it\'s "so" long'


def test_a_dotenv_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / ".env").write_text(f"XALORA_API_KEY={KEY}\n", encoding="utf-8-sig")
    assert config.load().credentials.consumer_id == "consumer"


@pytest.mark.parametrize("combined", ["nokey", "#key", "me#", "", "-x", "   "])
def test_a_key_in_the_wrong_form_is_refused_without_showing_it(combined):
    with pytest.raises(ConfigurationError, match="consumer#key") as caught:
        Credentials.parse(combined)
    assert not combined.strip("#- ") or combined not in str(caught.value).replace("consumer#key", "")


def test_arguments_beat_environment_beats_dotenv_beats_stored(tmp_path, monkeypatch):
    home = Path(os.environ["XALORA_HOME"])
    config.store(home, api_key="stored#1", workflow_url="http://stored")
    assert config.load().credentials.consumer_id == "stored"
    (tmp_path / ".env").write_text("XALORA_API_KEY=dotenv#2\nXALORA_WORKFLOW_URL=http://dotenv/\n")
    assert config.load().credentials.consumer_id == "dotenv"
    assert config.load().workflow_url == "http://dotenv"
    monkeypatch.setenv("XALORA_API_KEY", "environ#3")
    monkeypatch.setenv("XALORA_WORKFLOW_URL", "http://environ")
    assert config.load().credentials.consumer_id == "environ"
    loaded = config.load("argument#4", "http://argument", tmp_path / "other")
    assert (loaded.credentials.consumer_id, loaded.workflow_url) == ("argument", "http://argument")
    assert loaded.home == tmp_path / "other"


def test_dotenv_may_name_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv("XALORA_HOME")
    (tmp_path / ".env").write_text(f"XALORA_HOME={tmp_path / 'there'}\n")
    assert config.load().home == tmp_path / "there"


def test_defaults(monkeypatch):
    monkeypatch.delenv("XALORA_HOME")
    loaded = config.load()
    assert loaded.workflow_url == "https://sequencer-v2.xalora.xyz"
    assert loaded.credentials is None
    assert loaded.home.name == "xalora"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_missing_key_says_how_to_set_one_and_how_to_try_the_sandbox(kind):
    with pytest.raises(ConfigurationError, match=r"XALORA_API_KEY.*sandbox"):
        kind()


@pytest.mark.parametrize(
    "url",
    [
        "a sequencer",
        "ftp://x",
        "http:/x",
        "u:p@x",
        "//x",
        "x?y=1",
        "me#key",
        "x:99999",
        "192.168.1",
        "fe80::1%eth0",
        "http://",
        "http://u:p@x",
        "http://x?y=1",
        "http://x:99999",
        "http://[",
        "x:y",
    ],
)
def test_a_url_nothing_can_be_sent_to_is_refused(url):
    with pytest.raises(ConfigurationError, match="XALORA_WORKFLOW_URL"):
        config.load(KEY, url)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("192.168.1.20", "http://192.168.1.20:8787"), ("gpu-box", "http://gpu-box:8787"),
        ("gpu-box.local:8787", "http://gpu-box.local:8787"), ("https://x.example/sub/path/", "https://x.example/sub/path"),
        ("[fe80::1]", "http://[fe80::1]:8787"), ("fe80::1", "http://[fe80::1]:8787"), ("::1", "http://[::1]:8787"),
        ("[::1]:99/", "http://[::1]:99"), ("  GPU-Box/  ", "http://gpu-box:8787"), ("localhost", "http://localhost:8787"),
        ("localhost:80/a", "http://localhost:80/a"), ("gpu:", "http://gpu:8787"), ("100.64.0.7", "http://100.64.0.7:8787"),
        ("Sequencer-v2.xalora.xyz", validation.DEFAULT_URL), ("Sequencer-v2.xalora.xyz:443/", validation.DEFAULT_URL),
        ("x.example:8787/a", "https://x.example:8787/a"), ("8.8.8.8", "https://8.8.8.8"),
        # Tasks are known by it, so it stays as it is.
        ("HTTP://GPU-Box", "HTTP://GPU-Box"), ("http://192.168.1.20", "http://192.168.1.20"),
    ],
)  # fmt: skip
def test_an_address_gets_what_people_leave_out(written, url, tmp_path, monkeypatch):
    """By argument, environment and storage alike. In the open no key is sent."""
    assert config.load(KEY, written, tmp_path).workflow_url == url
    config.store(tmp_path, workflow_url=written)
    assert config.load(home=tmp_path).workflow_url == url
    monkeypatch.setenv("XALORA_API_KEY", KEY)
    monkeypatch.setenv("XALORA_WORKFLOW_URL", written)
    assert config.load(home=tmp_path).workflow_url == url


def test_the_key_is_in_no_repr():
    with Client(KEY, "http://localhost") as client:
        shown = repr(client) + repr(client.config) + repr(client.config.credentials)
        sequencer = Sequencer("http://localhost", client.config.credentials)
        shown += repr(sequencer) + repr(sequencer.query("t1", client.config.credentials))
    assert "a-secret-key" not in shown


def test_the_stored_key_is_readable_by_its_owner_alone(tmp_path):
    path = config.store(tmp_path / "new" / "home", api_key=KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config.store(tmp_path / "new" / "home", workflow_url="http://x/", api_key="other#key")
    keys = {validation.DEFAULT_URL: KEY}
    assert json.loads(path.read_text()) == {"api_key": "other#key", "workflow_url": "http://x", "keys": keys}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config.store(tmp_path / "new" / "home", api_key="")
    assert json.loads(path.read_text()) == {"workflow_url": "http://x", "keys": keys}
    assert [each.name for each in path.parent.iterdir()] == ["config.json"]


def test_bad_settings_are_not_stored(tmp_path):
    path = config.store(tmp_path, api_key=KEY)
    before = path.read_text()
    with pytest.raises(ConfigurationError):
        config.store(tmp_path, api_key="nonsense")
    with pytest.raises(ConfigurationError):
        config.store(tmp_path, workflow_url="non sense")
    assert path.read_text() == before


def test_a_home_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="XALORA_HOME"):
        config.store(tmp_path / "file" / "home", api_key=KEY)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe\x00"])
def test_a_stored_file_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        config.load(home=tmp_path)


def test_a_real_key_is_not_sent_to_the_sandbox(monkeypatch):
    monkeypatch.setenv("XALORA_API_KEY", KEY)
    loaded = config.load(workflow_url="sandbox")
    assert loaded.is_sandbox
    assert loaded.credentials.api_key != "a-secret-key"


def test_a_dotenv_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / ".env").write_text("XALORA_API_KEY=me#k", encoding="utf-16")
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read.*UTF-8"):
        config.load()


def test_a_fallback_home_finds_what_login_stored(tmp_path, monkeypatch):
    monkeypatch.delenv("XALORA_HOME")
    monkeypatch.setattr(config, "default_home", lambda: tmp_path / "default")
    config.store(tmp_path / "default", api_key=KEY)
    loaded = config.load(fallback_home=tmp_path / "of-comfyui")
    assert loaded.credentials.consumer_id == "consumer"
    assert loaded.home == tmp_path / "of-comfyui"
    config.store(tmp_path / "of-comfyui", api_key="other#key")
    assert config.load(fallback_home=tmp_path / "of-comfyui").credentials.consumer_id == "other"


OWN = "https://own.example"


class TestKeyAndServerFromOnePlace:
    """A key goes only to the server it was set with: a folder of a stranger may hold a .env."""

    @pytest.fixture(params=["environment", ".env", "stored"])
    def place(self, request, tmp_path, monkeypatch):
        def put(name, value, where=request.param):
            if where == "environment":
                monkeypatch.setenv(name, value)
            elif where == ".env":
                with (tmp_path / ".env").open("a") as file:
                    file.write(f"{name}={value}\n")
            else:
                config.store(tmp_path / "home", **{name.removeprefix("XALORA_").lower(): value})

        put.name = request.param
        return put

    def test_both_from_one(self, place, tmp_path):
        place("XALORA_WORKFLOW_URL", OWN)
        place("XALORA_API_KEY", "c#own-key")
        loaded = config.load(home=tmp_path / "home")
        assert (loaded.workflow_url, loaded.credentials) == (OWN, Credentials("c", "own-key"))

    @pytest.mark.parametrize("other", ["environment", ".env", "stored"])
    def test_from_two_is_refused_and_says_which(self, place, other, tmp_path):
        if other == place.name:
            pytest.skip("that is one place")
        place("XALORA_API_KEY", "c#secret-key", other)
        place("XALORA_WORKFLOW_URL", OWN)
        with pytest.raises(ConfigurationError, match=r"Nothing was sent") as caught:
            Client(home=tmp_path / "home")
        names = {"environment": "the environment", ".env": "the .env file", "stored": "the stored settings"}
        assert names[place.name] in str(caught.value)
        assert names[other] in str(caught.value)
        assert "secret-key" not in str(caught.value)

    @pytest.mark.parametrize("url", [validation.DEFAULT_URL, "sandbox"])
    def test_the_default_server_and_the_sandbox_are_no_strangers(self, place, url, tmp_path):
        config.store(tmp_path / "home", api_key="c#own-key")
        place("XALORA_WORKFLOW_URL", url)
        assert config.load(home=tmp_path / "home").workflow_url == url

    def test_arguments_say_it_themselves(self, place, tmp_path):
        place("XALORA_API_KEY", "c#own-key")
        assert config.load(workflow_url=OWN, home=tmp_path / "home").workflow_url == OWN


class TestImagesToTheMiners:
    def test_by_default_the_upload_method_is_chosen_by_itself(self):
        loaded = config.load()
        assert (loaded.image_delivery, loaded.bucket, loaded.bucket_keep) == ("auto", None, False)

    def test_settings_come_in_the_usual_order(self, tmp_path, monkeypatch):
        config.store(tmp_path, image_delivery="bucket", bucket="s3://stored/images/")
        loaded = config.load(home=tmp_path)
        assert (loaded.image_delivery, loaded.bucket) == ("bucket", "s3://stored/images")
        monkeypatch.setenv("XALORA_IMAGE_DELIVERY", "Data-URI")
        monkeypatch.setenv("XALORA_BUCKET", "gs://environ")
        monkeypatch.setenv("XALORA_BUCKET_KEEP", "1")
        loaded = config.load(home=tmp_path)
        assert (loaded.image_delivery, loaded.bucket, loaded.bucket_keep) == ("data-uri", "gs://environ", True)

    @pytest.mark.parametrize(
        "bucket",
        ["name", "s3://", "s3:///x", "https://x/y", "s3://a?b=c", "s3://key:secret@name", "s3://a/b c", "s3://a//b",
         "s3://a/./b", "s3://a/b/../secret"],
    )  # fmt: skip
    def test_what_is_no_bucket_is_refused_without_showing_it(self, bucket, tmp_path, monkeypatch):
        monkeypatch.setenv("XALORA_BUCKET", bucket)
        for attempt in (config.load, lambda: config.store(tmp_path, bucket=bucket)):
            with pytest.raises(ConfigurationError, match="XALORA_BUCKET is not") as caught:
                attempt()
            assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("bucket", "match"), [("s3://name/my images", "letters, digits and"), ("s3://name//x", r'empty, "\."')]
    )
    def test_why_a_prefix_is_refused(self, bucket, match, monkeypatch):
        monkeypatch.setenv("XALORA_BUCKET", bucket)
        with pytest.raises(ConfigurationError, match=match):
            config.load()

    @pytest.mark.parametrize(
        ("url", "public"),
        [
            (validation.DEFAULT_URL, True),
            (f"{validation.DEFAULT_URL}:443", True),
            ("HTTPS://Sequencer-V2.Xalora.xyz", True),
            (f"{validation.DEFAULT_URL}.evil.example", False),
            ("http://127.0.0.1:8787", False),
            ("sandbox", False),
        ],
    )
    def test_the_public_network_is_known_however_it_is_written(self, url, public):
        assert validation.is_public(config.load(workflow_url=url).workflow_url) == public

    def test_an_unknown_upload_method_is_refused(self, tmp_path):
        with pytest.raises(ConfigurationError, match=r"XALORA_IMAGE_DELIVERY.*auto, bucket"):
            config.store(tmp_path, image_delivery="pigeon")

    def test_stored_credentials_belong_to_their_bucket(self, tmp_path, monkeypatch):
        options = {"access_key_id": "me", "secret_access_key": "bucket-secret"}
        path = config.store(tmp_path, bucket="s3://mine", bucket_options=options)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        loaded = config.load(home=tmp_path)
        assert loaded.bucket_options == options
        assert "bucket-secret" not in repr(loaded)
        monkeypatch.setenv("XALORA_BUCKET", "s3://other")
        assert config.load(home=tmp_path).bucket_options == {}
        config.store(tmp_path, bucket="s3://other")
        assert "bucket-secret" not in path.read_text()

    def test_an_empty_value_removes_a_setting(self, tmp_path):
        path = config.store(tmp_path, bucket="s3://mine", image_delivery="bucket", bucket_options={"region": "x"})
        config.store(tmp_path, bucket="", image_delivery="")
        assert json.loads(path.read_text()) == {}


def test_the_sources_of_key_and_address_are_known(tmp_path, monkeypatch):
    def sources():
        settings = read_settings()
        return config.load().key_source, settings.consumer.source, settings.server.source

    home = Path(os.environ["XALORA_HOME"])
    assert sources() == ("", "default", "default")
    config.store(home, api_key=KEY)
    assert sources() == ("stored", "stored", "default")
    Path(".env").write_text(f"XALORA_API_KEY={KEY}\nXALORA_WORKFLOW_URL={OWN}\n")
    assert sources() == (".env", ".env", ".env")
    monkeypatch.setenv("XALORA_WORKFLOW_URL", "sandbox")
    assert sources() == ("default", ".env", "environment")


NO_HOME = """
import pwd, sys
def nobody(_): raise KeyError("no such user")
pwd.getpwuid = nobody
from xalora_client.cli import main
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows' users have accounts")
@pytest.mark.parametrize("command", ["tasks", "login", "status t1 --sandbox", "prune", "repair", "sandbox --port 0"])
@pytest.mark.parametrize("home", ["", "~/xalora", "~nobody-here/xalora"])
def test_a_user_without_an_account_is_told_what_to_set(tmp_path, command, home):
    done = run_without_home(tmp_path, command, home)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Set XALORA_HOME to a folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows' users have accounts")
@pytest.mark.parametrize("command", ["tasks", "login", "status t1 --sandbox", "doctor --sandbox"])
def test_a_user_without_an_account_who_has_set_it(tmp_path, command):
    done = run_without_home(tmp_path, command, str(tmp_path / "home"))
    assert "Traceback" not in done.stderr
    assert "XALORA_HOME" not in done.stderr + done.stdout


def run_without_home(folder, command, home):
    environment = {name: value for name, value in bare_environment(PYTHONPATH=str(ROOT)).items() if name != "HOME"}
    environment |= {"XALORA_HOME": home, "COMFYUI_PATH": "~/ComfyUI"}
    return subprocess.run(
        [sys.executable, "-c", NO_HOME, *command.split()],
        cwd=folder, env=environment, input="consumer-1#secret-key\n", capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip


@pytest.mark.parametrize("times", [1, 5, 1000])
def test_a_virus_scanner_that_holds_a_new_file_for_a_moment(home, monkeypatch, times):
    """For good is an error, with nothing left behind."""
    refused, real, waited = [], Path.replace, []

    def replace(path, target):
        refused.append(path)
        if len(refused) <= times:
            raise PermissionError(13, "Access is denied")
        return real(path, target)

    config.store(home, api_key=KEY)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr("time.sleep", waited.append)
    if times > 100:
        with pytest.raises(StorageError, match="Access is denied"):
            config.store(home, workflow_url="https://example.com")
    else:
        config.store(home, workflow_url="https://example.com")
        assert "workflow_url" in config.stored_settings(home)
    assert sum(waited) < 5
    assert config.stored_key(config.stored_settings(home), validation.DEFAULT_URL) == KEY
    assert [path.name for path in home.iterdir()] == ["config.json"]
