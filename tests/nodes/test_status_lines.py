"""The last line in a node is true however its run ends."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.fake_sequencer import DROP, Answer, status
from tests.support.fake_xalora import FakeXalora, Gate
from tests.support.pictures import png
from tests.support.processes import PATIENCE
from tests.support.sandbox_process import SandboxProcess
from xalora_client.protocol.answers import MORE_FILES
from xalora_client.protocol.parameters import encode_data_uri

VIDEO = {"prompt": "a rabbit", "width": 64, "height": 48, "length": 5, "steps": 1}
FLUX = {"prompt": "a gecko", "lora_name": "x", "width": 16, "height": 16}


class Screen:
    """What nodes show: their lines, and the fills of their bars with the previews."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: list[tuple[float, float, bytes | None]] = []

    @property
    def last(self) -> str:
        return self.lines[-1]


@pytest.fixture
def screen(pack: Any, monkeypatch: pytest.MonkeyPatch) -> Screen:
    """In place of the editor, which is not here."""
    shown = Screen()
    progress = pack.part("nodes.comfy.progress").Progress
    monkeypatch.setattr(progress, "text", lambda self, text, last=False: shown.lines.append(" · ".join(map(str, text))))
    monkeypatch.setattr(
        progress, "bar", lambda self, done, total, preview=None: shown.bars.append((done, total, preview))
    )
    return shown


def images(count: int) -> torch.Tensor:
    return torch.linspace(0, 1, count)[:, None, None, None].expand(count, 4, 4, 3)


def test_done(pack: Any, screen: Screen, sandbox: SandboxProcess) -> None:
    pack.run("XaloraText2Video", **VIDEO)
    assert re.fullmatch(r"done · 0:\d\d · 64×48 · 5 frames", screen.last)
    assert screen.lines[0] == "preparing"
    pack.run("XaloraText2Video", **VIDEO)
    assert screen.last == "done · reused, no charge · 64×48 · 5 frames"


def test_what_differs_from_what_was_asked_for(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    pack.run("XaloraText2Video", **VIDEO)
    assert re.fullmatch(r"done · 0:\d\d · \d+×\d+, asked for 64×48 · 1 frame, asked for 5", screen.last)


def test_files_that_were_left_behind_are_told(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    words = f"3 {MORE_FILES} is the result, the others are only on the miner"
    miner.ends = lambda number, _: status("finished", result=miner._serve(number, png(8, 8)), msg=words)
    pack.run("XaloraFluxLora", **FLUX)
    assert screen.last.endswith(f"8×8, asked for 16×16 · {words}")
    pack.run("XaloraUpscale", image=images(2))
    assert screen.last.endswith(f" · {words}")
    pack.run("XaloraTaskStatus", task_id="task-1")
    assert screen.last.endswith(f" · {words}")


def test_reused_images_are_counted(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: png(8, 8)
    pack.run("XaloraUpscale", image=images(3))
    assert re.fullmatch(r"done · 0:\d\d · 3 images of 8×8", screen.last)
    pack.run("XaloraUpscale", image=torch.cat([images(3), torch.full((1, 4, 4, 3), 0.3)]))
    assert re.fullmatch(r"done · 0:\d\d · 4 images of 8×8 · 3 of 4 reused", screen.last)
    pack.run("XaloraUpscale", image=images(3))
    assert screen.last == "done · 3 of 3 reused, no charge"
    pack.run("XaloraUpscale", image=images(1))
    assert screen.last == "done · reused, no charge · 8×8"


def test_without_waiting_only_a_new_task_is_submitted(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: status("running")
    pack.run("XaloraFluxLora", **FLUX, wait=False)
    assert screen.last == "submitted"
    pack.run("XaloraFluxLora", **FLUX, wait=False)
    assert screen.last == "continued from an earlier run, no charge"
    pack.run("XaloraUpscale", image=images(2), wait=False)
    assert screen.last == "submitted"
    more = torch.cat([images(2), torch.full((1, 4, 4, 3), 0.3)])
    pack.run("XaloraUpscale", image=more, wait=False)
    assert screen.last == "submitted · 2 of 3 continued from an earlier run, no charge"
    miner.ends = lambda number, parameters: png(16, 16)
    pack.run("XaloraFluxLora", **FLUX)
    pack.run("XaloraFluxLora", **FLUX, wait=False)
    assert screen.last == "reused, no charge"


def test_what_another_node_continues_without_waiting_is_from_an_earlier_run(
    pack: Any, screen: Screen, miner: FakeXalora
) -> None:
    pack.run("XaloraFluxLora", **FLUX, wait=False)
    answers = [status("running"), status("running"), png(16, 16)]
    miner.ends = lambda number, parameters: answers.pop(0) if len(answers) > 1 else answers[0]

    async def prompt() -> None:
        await pack.start("XaloraFluxLora", **FLUX, wait=False)
        await pack.start("XaloraFluxLora", **FLUX)

    asyncio.run(prompt())
    assert screen.last.startswith("continued from an earlier run · done")


def test_only_what_an_earlier_run_submitted_is_continued(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    pack.run("XaloraFluxLora", **FLUX, wait=False)
    assert screen.last == "submitted"
    pack.run("XaloraFluxLora", **FLUX)
    assert re.fullmatch(r"continued from an earlier run · done · \d.*×.*", screen.last)


def test_two_nodes_of_one_run_with_one_task(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    answers = [status("running")] * 4 + [png(16, 16)]
    miner.ends = lambda number, parameters: answers.pop(0) if len(answers) > 1 else answers[0]

    async def prompt() -> None:
        await asyncio.gather(*(pack.start("XaloraFluxLora", **FLUX) for _ in range(2)))

    asyncio.run(prompt())
    assert len(miner.parameters) == 1
    assert not [line for line in screen.lines if "earlier run" in line]


def test_the_status_node(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    *_, task_id = pack.run("XaloraText2Video", **VIDEO, wait=False)
    asked = {"parameters": {"length": 5}}
    miner.ends = lambda number, parameters: status("running", msg="step 3")
    pack.run("XaloraTaskStatus", task_id=task_id)
    assert screen.last == "running · step 3"
    miner.ends = lambda number, parameters: status(
        "finished", result=miner._serve(number, png(8, 6)), task_details=asked
    )
    pack.run("XaloraTaskStatus", task_id=task_id, wait=True)
    assert screen.last == "done · 8×6 · 1 frame, asked for 5"
    assert not [line for line in screen.lines if "earlier run" in line]


@pytest.mark.parametrize(
    ("cancels", "line"),
    [
        (Answer({"msg": "canceled"}), "canceled"),
        (Answer({"message": "no"}, 500), "stopped, but task task-1 may still be running: The server answered 500: no"),
        (DROP, "stopped, but task task-1 may still be running: No answer from .*"),
    ],
    ids=["confirmed", "refused", "lost"],
)
@pytest.mark.parametrize("node_id", ["XaloraText2Video", "XaloraUpscale"])
def test_cancel(
    pack: Any,
    screen: Screen,
    miner: FakeXalora,
    cancel_button: Callable[[], None],
    cancels: Answer,
    line: str,
    node_id: str,
) -> None:
    miner.ends = lambda number, parameters: cancel_button() or status("running")
    miner.script("task_cancel", cancels)
    values = VIDEO if node_id == "XaloraText2Video" else {"image": images(1)}
    with pytest.raises(pack.part("nodes.comfy.prompt").Interrupted):
        pack.run(node_id, **values)
    assert re.fullmatch(line, screen.last)


def stopped(gate: Gate, start: Coroutine[Any, Any, Any], stop: Callable[[asyncio.Task[Any]], object]) -> None:
    """Stop a node while an answer is held back at a gate."""

    async def prompt() -> None:
        gate.shut()
        node = asyncio.create_task(start)
        assert await asyncio.to_thread(gate.waiting.wait, PATIENCE)
        stop(node)
        asyncio.get_running_loop().call_later(0.5, gate.open)  # A create is waited for.
        await asyncio.wait({node})

    asyncio.run(prompt())


@pytest.mark.parametrize(
    ("reuse", "then"), [(True, "run again to get the result"), (False, "collect the result in the Xalora tab")]
)
def test_another_nodes_failure_says_that_the_task_is_still_running(
    pack: Any, screen: Screen, miner: FakeXalora, reuse: bool, then: str
) -> None:
    """With reuse off, another run would pay again."""
    node = pack.start("XaloraText2Video", **VIDEO, reuse=reuse)
    stopped(miner.queries, node, asyncio.Task.cancel)
    assert screen.last == f"stopped with the run, the task is still running: {then}"
    assert miner.cancelled == {}


def test_another_nodes_failure_while_the_result_arrives(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    stopped(miner.downloads, pack.start("XaloraText2Video", **VIDEO), asyncio.Task.cancel)
    assert screen.last == "stopped with the run, the task is finished: run again to get the result"


@pytest.mark.parametrize("wait", [True, False])
def test_another_nodes_failure_while_the_task_is_created(
    pack: Any, screen: Screen, miner: FakeXalora, wait: bool
) -> None:
    stopped(miner.creates, pack.start("XaloraText2Video", **VIDEO, wait=wait), asyncio.Task.cancel)
    assert screen.last == "stopped with the run, the task is still running: run again to get the result"


@pytest.mark.parametrize("node_id", ["XaloraText2Video", "XaloraUpscale"])
def test_another_nodes_failure_before_anything_is_sent(
    pack: Any, screen: Screen, miner: FakeXalora, node_id: str
) -> None:
    async def prompt() -> None:
        values = VIDEO if node_id == "XaloraText2Video" else {"image": images(2)}
        node = asyncio.create_task(pack.start(node_id, **values))
        await asyncio.sleep(0)
        node.cancel()
        await asyncio.wait({node})

    asyncio.run(prompt())
    assert screen.last == "stopped with the run: the Xalora tab shows whether a task was submitted"
    assert miner.parameters == {}


def test_a_query_that_is_canceled_cancels_no_task(
    pack: Any, screen: Screen, miner: FakeXalora, cancel_button: Callable[[], None]
) -> None:
    miner.ends = lambda number, parameters: status("running")
    *_, task_id = pack.run("XaloraText2Video", **VIDEO, wait=False)
    stopped(miner.queries, pack.start("XaloraTaskStatus", task_id=task_id), lambda _: cancel_button())
    assert screen.last == "stopped, the task was not canceled"
    assert miner.cancelled == {}


def test_a_wait_for_an_earlier_task_that_is_stopped(
    pack: Any, screen: Screen, miner: FakeXalora, cancel_button: Callable[[], None]
) -> None:
    miner.ends = lambda number, parameters: status("running")
    *_, task_id = pack.run("XaloraText2Video", **VIDEO, wait=False)
    node = pack.start("XaloraTaskStatus", task_id=task_id, wait=True)
    stopped(miner.queries, node, lambda _: cancel_button())
    assert screen.last == "stopped, the task was not canceled"
    assert list(miner.cancelled) == []


def test_a_cancel_that_is_canceled_claims_nothing(
    pack: Any, screen: Screen, miner: FakeXalora, cancel_button: Callable[[], None]
) -> None:
    *_, task_id = pack.run("XaloraText2Video", **VIDEO, wait=False)
    gate, usual = Gate(), miner.answers["/task_cancel"][0]
    miner.script("task_cancel", lambda seen: gate.pass_through() or usual(seen))
    stopped(gate, pack.start("XaloraCancelTask", task_id=task_id), lambda _: cancel_button())
    assert screen.last == "stopped, it is not known whether the task was canceled"


def test_an_error_of_another_kind_ends_the_line_too(
    pack: Any, screen: Screen, miner: FakeXalora, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(pack.part("nodes.tensors"), "load_frames", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        pack.run("XaloraFluxLora", **FLUX)
    assert screen.last == "stopped by an error, see the message"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x onerror=alert()>", "‹img src=x onerror=alert()>"),
        ("[[[words|https://x.example]]", "[ [ [words|https://x.example]]"),
        ("__LNK0__", "_ _LNK0__"),
        ("3 < 5 · [1] · a_b", "3 ‹ 5 · [1] · a_b"),
    ],
)
def test_a_line_holds_no_markup(pack: Any, text: str, shown: str) -> None:
    assert pack.part("nodes.comfy.progress").without_markup(text) == shown


@pytest.mark.parametrize(
    ("node_id", "values", "line"),
    [
        ("XaloraText2Video", VIDEO, "The remote machine ran out of memory"),
        ("XaloraText2Video", VIDEO | {"width": 8}, "width is 8, and must be from 16 to 4,096"),
        ("XaloraUpscale", {"image": images(2)}, "Image 1 of 2: The remote machine ran out of memory"),
        ("XaloraTaskStatus", {"task_id": "task-77"}, "The server cannot find what was asked for"),
        ("XaloraCancelTask", {"task_id": ""}, "Fill in task_id first"),
    ],
)
def test_an_errors_first_sentence(
    pack: Any, screen: Screen, miner: FakeXalora, node_id: str, values: dict[str, Any], line: str
) -> None:
    miner.ends = lambda number, parameters: status("failed", msg="out of memory")
    with pytest.raises(pack.error("XaloraError")):
        pack.run(node_id, **values)
    assert screen.last == line


def test_no_key(pack: Any, screen: Screen, miner: FakeXalora, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XALORA_API_KEY")
    monkeypatch.delenv("XALORA_WORKFLOW_URL")
    with pytest.raises(pack.error("ConfigurationError")):
        pack.run("XaloraText2Video", **VIDEO)
    assert screen.last == "No API key is set"


def test_a_lost_connection_is_said_and_replaced(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    answers = [DROP, status("running"), png(8, 8)]

    def query(seen: Any) -> Answer:
        answer = answers.pop(0)
        return answer if isinstance(answer, Answer) else status("finished", result=miner._serve(1, answer))

    miner.script("task_result_query", query)
    pack.run("XaloraFluxLora", **FLUX)
    lost = next(number for number, line in enumerate(screen.lines) if "connection lost" in line)
    assert re.fullmatch(r"queued 0:0\d · connection lost, trying again in 1 s", screen.lines[lost])
    assert any(re.fullmatch(r"running 0:0\d", line) for line in screen.lines[lost:])


def test_the_bar_is_the_miners(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    from_miner = {"value": 3, "maximum": 30, "title": "KSampler", "preview": pack_uri(png(8, 8))}
    answers = [status("running"), status("running", progress=from_miner), png(16, 16)]
    miner.ends = lambda number, parameters: answers.pop(0) if len(answers) > 1 else answers[0]
    pack.run("XaloraFluxLora", **FLUX)
    assert screen.bars[:2] == [(3, 30, png(8, 8)), (30, 30, None)]
    *downloaded, cleared, decoded = screen.bars[2:]
    assert len({total for _, total, _ in downloaded}) == 1
    assert (cleared, decoded) == ((0, 1, None), (1, 1, None))
    assert any(re.fullmatch(r"running 0:0\d · KSampler 3 / 30", line) for line in screen.lines)


def test_an_estimate_is_in_words_and_never_in_the_bar(pack: Any, screen: Screen, miner: FakeXalora, home: Path) -> None:
    looks: dict[int, int] = {}

    def ends(number: int, parameters: dict[str, Any]) -> Any:
        looks[number] = looks.get(number, 0) + 1
        return status("running") if looks[number] == 1 else png(16, 16)

    miner.ends = ends
    for seed in range(3):
        pack.run("XaloraFluxLora", **FLUX, seed=seed)
    with closing(sqlite3.connect(home / "ledger.sqlite3")) as db:
        assert db.execute("UPDATE tasks SET ran = 5").rowcount == 3
        db.commit()
    screen.bars.clear()
    pack.run("XaloraFluxLora", **FLUX, seed=3)
    assert any(re.fullmatch(r"running 0:0\d, about 0:0\d left", line) for line in screen.lines)
    assert len({total for _, total, _ in screen.bars[:-2]}) == 1  # The download's. The others are the decoding's.


def test_a_batchs_bar_has_the_parts_of_its_images(pack: Any, screen: Screen, miner: FakeXalora) -> None:
    looks: dict[int, int] = {}

    def ends(number: int, parameters: dict[str, Any]) -> Any:
        looks[number] = looks.get(number, 0) + 1
        half = {"value": 1, "maximum": 2, "preview": pack_uri(png(8, 8))}
        return status("running", progress=half) if looks[number] == 1 else png(8, 8)

    miner.ends = ends
    pack.run("XaloraUpscale", image=images(4), max_parallel=2)
    cleared = screen.bars.index((0, 1, None))
    images_done, decoded = screen.bars[:cleared], screen.bars[cleared + 1 :]
    assert {total for _, total, _ in images_done + decoded} == {4}
    assert decoded[-1] == (4, 4, None)
    fills = [done for done, _, _ in images_done]
    assert {0.5, 1.0, 2.5, 4} <= set(fills)
    assert {preview for _, _, preview in screen.bars} == {None}  # Of several, none is the one to show.


def pack_uri(content: bytes) -> str:
    return encode_data_uri(content, "image/png")


@pytest.mark.parametrize("is_there", [False, True], ids=["off", "asks for a pause"])
def test_what_is_canceled_before_its_create_is_not_being_sent(
    pack: Any,
    screen: Screen,
    miner: FakeXalora,
    home: Path,
    cancel_button: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    is_there: bool,
) -> None:
    """Cancel comes in the pause after a refusal, which the line tells."""
    if not is_there:
        monkeypatch.setenv("XALORA_WORKFLOW_URL", "http://127.0.0.1:1")
    miner.script("task_create", Answer({"message": "busy"}, 429, {"Retry-After": "30"}))
    show = pack.part("nodes.comfy.progress").Progress.text

    def show_and_press(progress: Any, line: Any, last: bool = False) -> None:
        show(progress, line, last)
        if "trying again" in screen.last:
            cancel_button()

    monkeypatch.setattr(pack.part("nodes.comfy.progress").Progress, "text", show_and_press)
    with pytest.raises(pack.part("nodes.comfy.prompt").Interrupted):
        pack.run("XaloraFluxLora", **FLUX)
    assert screen.last == "canceled"
    (task,) = pack.part("nodes.editor_api.tasks").page(home, {})["tasks"]
    assert (task["state"], task["final"]) == ("refused", True)


def test_how_far_a_task_is_while_a_node_waits_for_it(pack: Any, miner: FakeXalora, home: Path) -> None:
    """Such a task is no earlier one, and only what was measured is told."""
    tasks, seen = pack.part("nodes.editor_api.tasks"), list[Any]()

    def ends(number: int, parameters: dict[str, Any]) -> Any:
        page = tasks.page(home, {})
        seen.append((page["running"], page["earlier"], page["tasks"][0]["progress"]))
        measured = {"value": len(seen), "maximum": 10} if len(seen) > 1 else None
        return status("running", progress=measured) if len(seen) < 5 else png(16, 16)

    miner.ends = ends
    pack.run("XaloraFluxLora", **FLUX)
    assert seen[1:] == [(1, 0, None), (1, 0, (2, 10)), (1, 0, (3, 10)), (1, 0, (4, 10))]
    miner.ends = lambda number, parameters: status("running")
    pack.run("XaloraFluxLora", **FLUX, seed=1, wait=False)
    page = tasks.page(home, {})
    assert (page["running"], page["earlier"], page["tasks"][1]["progress"]) == (1, 1, None)


@pytest.mark.parametrize("latency", [None, 75.4])
def test_the_time_of_a_task_is_its_miners(pack: Any, screen: Screen, miner: FakeXalora, latency: float | None) -> None:
    """Not that of the run, which may only have continued it."""
    miner.ends = lambda number, _: status(
        "finished", result=miner._serve(number, png(16, 16)), inference_latency=latency
    )
    pack.run("XaloraFluxLora", **FLUX)
    assert re.fullmatch(rf"done · {'1:15' if latency else '0:0.'} · 16×16", screen.last)
    miner.ends = lambda number, _: status("running")
    pack.run("XaloraFluxLora", **FLUX, seed=1, wait=False)
    miner.ends = lambda number, _: status(
        "finished", result=miner._serve(number, png(16, 16)), inference_latency=latency
    )
    pack.run("XaloraFluxLora", **FLUX, seed=1)
    assert screen.last == f"continued from an earlier run · done{' · 1:15' if latency else ''} · 16×16"


def test_every_part_of_a_line_has_its_english_words(pack: Any, screen: Screen) -> None:
    """The editor gets codes and values: server's words among them have no markup either."""
    part = pack.part("nodes.status_lines").Part
    message = pack.part("nodes.comfy.progress")._message
    nested = part("may_run", tasks=part("task", task_id="t<1"), why="the server says <no>")
    assert message(nested) == {
        "code": "may_run",
        "values": {
            "tasks": {"code": "task", "values": {"task_id": "t‹1"}, "text": "task t‹1"},
            "why": "the server says ‹no>",
        },
        "text": "stopped, but task t‹1 may still be running: the server says ‹no>",
    }
