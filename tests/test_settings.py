"""The settings for people: what is in force, from where, and changes that keep a key with its server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from xalora_client import Client, ConfigurationError, config
from xalora_client.config import DEFAULT_URL
from xalora_client.config.settings import change_settings, read_settings, server_arguments

KEY = "consumer-1#very-secret"
OWN = "http://127.0.0.1:8787"


def stored(home: Path) -> dict[str, str]:
    return json.loads((home / "config.json").read_text(encoding="utf-8"))


def test_without_any_setting_the_default_server_waits_for_a_key():
    settings = read_settings()
    assert (settings.server.value, settings.server.source) == (DEFAULT_URL, "default")
    assert settings.consumer.value is None
    assert settings.consumer.editable
    assert "No API key is set" in str(settings.problem)


def test_a_stored_key_is_used_and_never_shown(home):
    change_settings(api_key=KEY)
    settings = read_settings()
    assert (settings.consumer.value, settings.consumer.source) == ("consumer-1", "stored")
    assert settings.problem is None
    assert "very-secret" not in repr(settings)
    with Client() as client:
        assert client.config.credentials.api_key == "very-secret"
    if os.name == "posix":
        assert (home / "config.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_what_the_environment_sets_is_not_changed_here(monkeypatch, tmp_path, place):
    if place == "environment":
        monkeypatch.setenv("XALORA_API_KEY", KEY)
    else:
        (tmp_path / ".env").write_text(f"XALORA_API_KEY='{KEY}'\n")
    settings = read_settings()
    assert (settings.consumer.value, settings.consumer.source) == ("consumer-1", place)
    assert not settings.consumer.editable
    with pytest.raises(ConfigurationError, match="The key is set by XALORA_API_KEY"):
        change_settings(api_key="other#key")
    assert read_settings() == settings


def test_key_and_server_are_stored_together(home):
    change_settings(api_key=KEY, workflow_url=OWN)
    assert stored(home) == {"api_key": KEY, "workflow_url": OWN}
    assert read_settings().problem is None


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("", "sandbox", True),
        ("sandbox", "", True),
        (OWN, OWN + "/", True),
        (OWN, "", False),
        (OWN, "http://127.0.0.1:9999", False),
        ("", OWN, False),
        ("sandbox", OWN, False),
        (OWN, "sandbox", False),
    ],
)
def test_a_key_does_not_go_along_to_another_server(before, after, kept):
    change_settings(api_key=KEY, workflow_url=before)
    change_settings(workflow_url=after)
    assert (read_settings().consumer.value == "consumer-1") is kept


OTHER = "http://127.0.0.1:9999/sub/path"
KEYS = {"": "network#1", OWN: "own#2", OTHER: "other#3"}


def test_each_server_keeps_its_own_key(home):
    """However often and in which order they change, and however their addresses are written."""
    for url, key in KEYS.items():
        change_settings(workflow_url=url, api_key=key)
    steps = [(OWN + "/", "own"), ("sandbox", "network"), ("127.0.0.1:9999/sub/path", "other"), ("sandbox", "network")]
    for url, key in [*steps, (" localhost ", None), (DEFAULT_URL, "network"), (OWN, "own")]:
        change_settings(workflow_url=url)
        assert read_settings().consumer.value == key
    assert read_settings().servers == {
        OWN: "own",
        OTHER: "other",
        "http://localhost:8787": None,
        DEFAULT_URL: "network",
    }
    change_settings(api_key="")
    change_settings(workflow_url="")
    assert read_settings().servers[OWN] is None
    assert {path.name for path in home.iterdir()} == {"config.json"}


@pytest.mark.parametrize("url", [DEFAULT_URL, OTHER, "http://localhost:8787", "https://127.0.0.1:8787", "sandbox"])
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_stored_key_goes_to_its_own_server_alone(monkeypatch, tmp_path, url, place):
    """Whichever server the environment names."""
    change_settings(workflow_url=OTHER, api_key=KEYS[OTHER])
    change_settings(workflow_url=OWN, api_key=KEY)
    if place == "environment":
        monkeypatch.setenv("XALORA_WORKFLOW_URL", url)
    else:
        (tmp_path / ".env").write_text(f"XALORA_WORKFLOW_URL={url}\n")
    try:
        loaded = config.load()
    except ConfigurationError as error:
        assert "Nothing was sent" in str(error)  # noqa: PT017
    else:
        used = loaded.credentials and loaded.credentials.consumer_id
        assert used == {DEFAULT_URL: None, OTHER: "other", "sandbox": "sandbox"}[url]


def test_a_task_is_asked_about_where_it_is(monkeypatch):
    for url, key in KEYS.items():
        change_settings(workflow_url=url, api_key=key)
    change_settings(workflow_url="open-box")
    change_settings(workflow_url="sandbox")
    monkeypatch.setenv("XALORA_API_KEY", "of-the-environment#4")
    assert server_arguments(OWN) == ("own#2", OWN)
    assert server_arguments(DEFAULT_URL) == ("network#1", DEFAULT_URL)
    assert Client(*server_arguments("http://open-box:8787")).config.credentials.consumer_id == "nobody"
    assert server_arguments("https://elsewhere.example") == (None, None)
    assert server_arguments("sandbox") == (None, "sandbox")
    change_settings(workflow_url="")
    assert server_arguments(DEFAULT_URL) == (None, None), "the environment's key is for the server in force"


def test_changes_of_two_processes_are_all_kept(home):
    """Each begins when both are ready."""
    program = (
        "import sys; from xalora_client.config.settings import change_settings; print(flush=True); input()\n"
        "for n in range(20): change_settings(workflow_url=f'http://{sys.argv[1]}-{n}:1', api_key=f'{sys.argv[1]}#{n}')"
    )
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", program, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for name in ("one", "two")
        ]
        for process in running:
            process.stdout.readline()
        for process in running:
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert [process.wait(60) for process in running] == [0, 0]
    assert read_settings().servers == {f"http://{name}-{n}:1": name for name in ("one", "two") for n in range(20)}


def test_key_and_server_of_two_places_are_not_stored(monkeypatch, home):
    """No request could be sent with them."""
    monkeypatch.setenv("XALORA_API_KEY", KEY)
    change_settings(media_budget="1")
    with pytest.raises(ConfigurationError, match="the key is set by XALORA_API_KEY in the environment"):
        change_settings(workflow_url=OWN)
    assert stored(home) == {"media_budget": "1"}
    for server in ("sandbox", DEFAULT_URL):
        change_settings(workflow_url=server)
        assert read_settings().problem is None

    monkeypatch.delenv("XALORA_API_KEY")
    monkeypatch.setenv("XALORA_WORKFLOW_URL", OWN)
    with pytest.raises(ConfigurationError, match="the server is set by XALORA_WORKFLOW_URL in the environment"):
        change_settings(api_key=KEY)


def test_a_conflict_does_not_keep_other_settings_from_being_changed(monkeypatch):
    change_settings(workflow_url=OWN)
    monkeypatch.setenv("XALORA_API_KEY", KEY)
    assert "Nothing was sent" in str(read_settings().problem)
    change_settings(media_budget="2")
    change_settings(workflow_url="")
    assert read_settings().problem is None


def test_settings_changed_at_once_are_all_kept(home):
    changes = {"api_key": KEY, "image_delivery": "data-uri", "bucket": "s3://name", "media_budget": "2"}
    failed = []

    def change(start, name, value):
        start.wait()
        try:
            change_settings(**{name: value})
        except Exception as error:  # noqa: BLE001 - also a file that is there twice
            failed.append(error)

    for _ in range(20):
        change_settings(**dict.fromkeys(changes, ""))
        start = threading.Barrier(len(changes))
        threads = [threading.Thread(target=change, args=(start, *each)) for each in changes.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert stored(home) == changes


def test_a_key_that_is_wrong_changes_nothing(home):
    change_settings(api_key=KEY)
    with pytest.raises(ConfigurationError, match="not in the form") as failure:
        change_settings(api_key="without a separator that counts")
    assert "counts" not in str(failure.value)
    assert stored(home) == {"api_key": KEY}


def test_an_empty_key_removes_it():
    change_settings(api_key=KEY)
    change_settings(api_key="")
    assert read_settings().consumer.value is None


def test_settings_of_the_command_line_are_carried_along(monkeypatch, tmp_path):
    """ComfyUI's own folder has none yet: a change there must not hide what `xalora login` stored."""
    monkeypatch.delenv("XALORA_HOME")
    monkeypatch.setattr("xalora_client.config.default_home", lambda: tmp_path / "of the user")
    change_settings(api_key=KEY)
    inside = tmp_path / "of ComfyUI"
    assert read_settings(inside).consumer.value == "consumer-1"
    change_settings(inside, workflow_url="sandbox")
    change_settings(inside, workflow_url="")
    assert read_settings(inside).consumer.value == "consumer-1"


@pytest.fixture
def inside(monkeypatch, tmp_path):
    """ComfyUI's own folder, where something is stored already."""
    monkeypatch.delenv("XALORA_HOME")
    monkeypatch.setattr("xalora_client.config.default_home", lambda: tmp_path / "of the user")
    folder = tmp_path / "of ComfyUI"
    change_settings(folder, media_budget="2")
    return folder


def log_in(bucket, secret):
    config.store(config.default_home(), bucket=bucket, bucket_options={"secret_access_key": secret})


def bucket_in(home):
    loaded = config.load(fallback_home=home)
    return loaded.bucket, loaded.bucket_options.reveal().get("secret_access_key")


def test_a_bucket_of_the_command_line_is_used_whenever_it_was_set(inside):
    log_in("s3://first", "1")
    assert bucket_in(inside) == ("s3://first", "1")
    change_settings(inside, media_budget="3")
    log_in("s3://second", "2")
    assert bucket_in(inside) == ("s3://second", "2")
    change_settings(inside, bucket="s3://second")
    assert bucket_in(inside) == ("s3://second", "2")
    change_settings(inside, bucket="s3://own")
    assert bucket_in(inside) == ("s3://own", None)
    change_settings(inside, bucket="")
    assert bucket_in(inside) == (None, None)
    assert read_settings(inside).bucket.source == "default"


def test_credentials_do_not_go_along_to_another_bucket(home):
    config.store(home, bucket="s3://first", bucket_options={"secret_access_key": "1"})
    change_settings(media_budget="2")
    assert bucket_in(None) == ("s3://first", "1")
    change_settings(bucket="s3://second")
    assert "bucket_options" not in stored(home)


def test_settings_of_other_versions_are_left_alone(home):
    home.mkdir(exist_ok=True)
    (home / "config.json").write_text('{"bucket_keep": "yes", "of_a_later_version": "1"}')
    change_settings(api_key=KEY)
    assert stored(home) == {"bucket_keep": "yes", "of_a_later_version": "1", "api_key": KEY}


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("no address", "impossible host"),
        ("ftp://gpu", "not an http address"),
        ("http://[fe80::1%25eth0]:8787", "an IPv6 address with a zone"),
        ("http://[fe80::1%eth0]", "an IPv6 address with a zone"),
        ("http://user@[fe80::1%3]:1", "an IPv6 address with a zone"),
        ("http://gpu:99999", "impossible port"),
        ("http://gpu/?key=1", ""),
    ],
)
def test_a_server_that_is_no_address_is_refused(address, reason):
    with pytest.raises(ConfigurationError, match=f"not the plain address of a server.*{reason}"):
        change_settings(workflow_url=address)


def test_other_settings_are_stored_and_shown():
    change_settings(image_delivery="data-uri", bucket="s3://name/prefix", media_budget="2.5")
    settings = read_settings()
    assert (settings.image_delivery.value, settings.image_delivery.source) == ("data-uri", "stored")
    assert settings.bucket.value == "s3://name/prefix"
    assert settings.media_budget.value == "2.5"
    change_settings(image_delivery="", media_budget="")
    assert (read_settings().image_delivery.value, read_settings().image_delivery.source) == ("auto", "default")
    assert read_settings().bucket.value == "s3://name/prefix"


@pytest.mark.parametrize(
    "wrong", [{"media_budget": "much"}, {"media_budget": "-1"}, {"image_delivery": "pigeon"}, {"home": "elsewhere"}]
)
def test_a_setting_that_is_wrong_changes_nothing(home, wrong):
    change_settings(api_key=KEY)
    with pytest.raises(ConfigurationError):
        change_settings(**wrong)
    assert stored(home) == {"api_key": KEY}


def test_the_media_budget_is_kept(home):
    change_settings(api_key=KEY, media_budget="0")
    old = home / "media" / "ab" / f"ab{'0' * 62}.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    os.utime(old, (1, 1))
    with Client() as client:
        client._store.prune()
    assert not old.exists()


@pytest.mark.parametrize(
    ("address", "shown", "kind"),
    [
        ("http://bob:s3cret@sequencer.example:8787/x", "http://sequencer.example:8787/x", "own"),
        ("https://sequencer.example/?token=s3cret", "https://sequencer.example", "own"),
        ("//bob:s3cret@sequencer.example", "", "own"),
        (" Sandbox ", "sandbox", "sandbox"),
        (DEFAULT_URL + "/", DEFAULT_URL, "network"),
    ],
)
def test_of_an_invalid_address_only_what_is_no_secret_is_shown(monkeypatch, address, shown, kind):
    monkeypatch.setenv("XALORA_WORKFLOW_URL", address)
    settings = read_settings()
    assert (settings.server.value, settings.kind, settings.server.source) == (shown, kind, "environment")
    assert "s3cret" not in repr(settings)


def test_a_bucket_that_is_none_is_not_shown(monkeypatch):
    monkeypatch.setenv("XALORA_BUCKET", "s3://id:s3cret@pictures")
    settings = read_settings()
    assert (settings.bucket.value, settings.bucket.source) == (None, "environment")
    assert "s3cret" not in repr(settings)
    monkeypatch.setenv("XALORA_BUCKET", "s3://pictures/mine")
    assert read_settings().bucket.value == "s3://pictures/mine"
