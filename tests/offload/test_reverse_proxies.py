"""A sequencer behind a proxy: under a path, with TLS, and with a limit on bodies. The proxy is a process of its own."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults import certificates
from tests.support.fake_comfyui import Plan, until
from tests.support.farm import Farm
from tests.support.pictures import noise
from tests.support.processes import Command
from xalora_client import APIStatusError, AsyncClient, CustomTask, Text2VideoTask
from xalora_client.protocol.parameters import encode_data_uri


@pytest.fixture
def behind(tmp_path):
    """A function that puts a proxy before a server, and returns its address."""
    started = []

    def start(upstream, *options):
        program = ("-m", "tests.support.reverse_proxy")
        started.append(Command(upstream, *options, cwd=tmp_path, home=tmp_path / "home", program=program))
        return started[-1].first_line()

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("host", [[], ["--keep-host"]], ids=["own host", "kept host"])
@pytest.mark.parametrize("path", ["", "/gpu", "/a/b-c/media"])
@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
def test_results_come_back_through_it(sandbox, behind, home, monkeypatch, path, host, is_secure):
    tls = []
    if is_secure:
        if not certificates.available():
            pytest.skip("there is no openssl command to make certificates with")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificates.authority())
        tls = ["--tls", *certificates.server_files()]
    url = behind(sandbox.url, "--path", path, *host, *tls)

    async def run():
        async with AsyncClient("me#some-long-key", url, home=home, ledger=True) as client:
            task = Text2VideoTask("a fox", width=64, height=48, length=5)
            result = await client.execute_workflow_and_wait_for_result(task, timeout=60)
            return result, await client.download(result)

    result, file = asyncio.run(run())
    assert result.media_url.startswith(f"{url}/media/")
    assert file.info.frames == 5


def test_a_create_that_is_too_large_for_it_is_refused_in_words(sandbox, behind, home, tmp_path):
    (tmp_path / "largest").write_text("10000")
    url = behind(sandbox.url, "--largest", tmp_path / "largest")

    async def run():
        async with AsyncClient("me#some-long-key", url, home=home, ledger=True) as client:
            await client.execute_workflow(
                CustomTask("upscaler", {"image": encode_data_uri(noise(side=90), "image/png")})
            )

    with pytest.raises(APIStatusError, match=r"413: a proxy before the server.*client_max_body_size") as caught:
        asyncio.run(run())
    assert (caught.value.sent, "html" in str(caught.value)) == ("no", False)


@pytest.mark.parametrize(
    "refusal",
    [[], ["--refusal", "413", '{"message": "Request Too Long"}'], ["--refusal", "400", "Request body too large"]],
    ids=["nginx", "413", "400"],
)
def test_a_result_that_is_too_large_for_it_is_delivered_once_it_may_pass(behind, tmp_path, refusal):
    """The work is done and paid: the miner says what to set, and goes on trying."""
    (tmp_path / "largest").write_text("100000")
    (tmp_path / "farm").mkdir()

    async def scenario():
        async with Farm(tmp_path / "farm") as farm:
            comfyui = await farm.comfyui(plan=lambda _: Plan(content=noise()))
            farm.miner(
                comfyui.url, sequencer=behind(farm.url, "--path", "/gpu", "--largest", tmp_path / "largest", *refusal)
            )
            task_id = await farm.create(prompt="a fox")
            await until(lambda: any("client_max_body_size" in line for line in farm.lines))
            assert not any("html" in line for line in farm.lines)
            assert (await farm.task(task_id))["status"] == "running"
            (tmp_path / "largest").write_text("1000000")
            assert await farm.result(task_id) == noise()
            assert len(comfyui.prompts) == 1

    asyncio.run(scenario())
