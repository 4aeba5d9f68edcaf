"""Starting and ending the server in the foreground."""

from __future__ import annotations

import asyncio
import socket

import pytest
import requests

from tests.support.processes import free_port
from xalora_client.errors import ConfigurationError, StorageError
from xalora_client.sequencer import Options
from xalora_client.sequencer.app import serve


async def serve_until_ready(host, port, data, **options):
    """Serve, ask the URL for an answer, and cancel; return the URL."""
    ready = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve(host, port, data, Options(**options), on_ready=ready.set_result))
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        ready.cancel()
        return await serving
    answer = await asyncio.to_thread(requests.get, ready.result(), timeout=30)
    assert answer.json()["service"] == "Xalora sandbox"
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    return ready.result()


def test_any_port_or_a_given_one(tmp_path, capfd):
    assert asyncio.run(serve_until_ready("127.0.0.1", 0, tmp_path)).startswith("http://127.0.0.1:")
    port = free_port()
    assert asyncio.run(serve_until_ready("127.0.0.1", port, tmp_path)) == f"http://127.0.0.1:{port}"
    assert capfd.readouterr() == ("", "")


def test_all_interfaces_are_shown_as_given_and_called_on_loopback(tmp_path):
    assert asyncio.run(serve_until_ready("0.0.0.0", 0, tmp_path)).startswith("http://0.0.0.0:")
    assert "http://127.0.0.1:" in (tmp_path / "url").read_text()


def test_ipv6(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert asyncio.run(serve_until_ready("::1", 0, tmp_path)).startswith("http://[::1]:")


def test_a_taken_port_is_an_error_that_names_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            asyncio.run(serve("127.0.0.1", port, tmp_path))
    with pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1:70000"):
        asyncio.run(serve("127.0.0.1", 70_000, tmp_path))
    asyncio.run(serve_until_ready("127.0.0.1", 0, tmp_path))  # the folder was given back


def test_one_sandbox_per_folder(start):
    sandbox = start()
    with pytest.raises(ConfigurationError, match="Another sandbox uses the data folder"):
        asyncio.run(serve("127.0.0.1", 0, sandbox.data))


@pytest.mark.parametrize("name", ["lock", "sandbox.sqlite3", "url.new"])
def test_folders_that_cannot_be_written(tmp_path, name):
    (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot use the data folder"):
        asyncio.run(serve("127.0.0.1", 0, tmp_path / "data"))


def test_files_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use the data folder"):
        asyncio.run(serve("127.0.0.1", 0, tmp_path / "file" / "data"))
    (tmp_path / "media").write_text("")
    with pytest.raises(StorageError, match="cannot use the data folder"):
        asyncio.run(serve("127.0.0.1", 0, tmp_path))


def test_a_damaged_database_is_an_error(tmp_path):
    (tmp_path / "sandbox.sqlite3").write_bytes(b"no database " * 100)
    with pytest.raises(StorageError, match="cannot use the data folder"):
        asyncio.run(serve("127.0.0.1", 0, tmp_path))


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"render_seconds": -1},
        {"render_seconds": float("nan")},
        {"video_format": "gif"},
    ],
    ids=str,
)
def test_options_that_are_not_allowed(tmp_path, options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        asyncio.run(serve("127.0.0.1", 0, tmp_path, Options(**options)))
