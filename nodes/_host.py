"""What the nodes need of ComfyUI's execution: its Cancel, its folders, its outputs. Only ``_host*.py`` import ComfyUI.

The stand-ins then are what a machine without it can offer: no interrupts, no progress display, no temporary folder,
and a VIDEO that is the plain file or its frames.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import shutil
import threading
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

try:
    from comfy import model_management
    from comfy_execution.graph_utils import ExecutionBlocker
    from folder_paths import get_temp_directory
    from server import PromptServer

    IN_COMFYUI = True
    Interrupted = model_management.InterruptProcessingException
except ModuleNotFoundError as error:
    if error.name not in ("comfy", "comfy_execution", "folder_paths", "server"):
        raise
    IN_COMFYUI = False

    class Interrupted(BaseException):  # type: ignore[no-redef]
        """The user pressed Cancel."""

    class ExecutionBlocker:  # type: ignore[no-redef]
        """The value of an output without a result; nodes connected to it do not run."""

        def __init__(self, message: str | None) -> None:
            self.message = message


logger = logging.getLogger("xalora_client")

SECONDS_BETWEEN_LOOKS = 0.05

T = TypeVar("T")

_cancel_pressed = threading.Event()


def _hear_cancel() -> None:
    """Remember that Cancel was pressed until ComfyUI begins the next prompt.

    ComfyUI's flag alone is not enough: the first to act on it resets it. A sampler that runs next to our nodes does so
    within milliseconds, and to our nodes that looks like the failure of another node. Remote tasks that the user
    canceled would then continue and cost money. So ComfyUI's only setter of the flag is wrapped; what it does is
    unchanged.
    """
    set_flag = model_management.interrupt_current_processing

    @functools.wraps(set_flag)
    def heard(value: bool = True) -> None:
        if value:
            _cancel_pressed.set()
        else:
            _cancel_pressed.clear()
        set_flag(value)

    model_management.interrupt_current_processing = heard


if IN_COMFYUI:
    _hear_cancel()


def at_start(work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Have ComfyUI's server run this when it starts."""
    server = getattr(PromptServer, "instance", None) if IN_COMFYUI else None
    if server is not None:
        server.app.on_startup.append(work)


def interrupted() -> bool:
    """Whether Cancel was pressed in this prompt."""
    return _cancel_pressed.is_set()


def blocked() -> Any:
    """The value of an output without a result. Nodes connected to it do not run, without an error."""
    return ExecutionBlocker(None)


def home() -> Path | None:
    """A folder that ComfyUI keeps and does not serve over HTTP, or None if this version has none."""
    try:
        from folder_paths import get_system_user_directory
    except ImportError:
        return None
    return Path(get_system_user_directory("xalora"))


def video_of(file: Path) -> Any:
    """A VIDEO that is this file: saving it copies the packets, sound included.

    It may be read at any time, because ComfyUI caches it. Its file stays until ComfyUI starts again.
    """
    if not IN_COMFYUI:
        return file
    from comfy_api.input_impl import VideoFromFile

    return VideoFromFile(str(_shared(file) or file))


def video_from(frames: Any, fps: float, audio: Any) -> Any:
    """A VIDEO of frames ``[F, H, W, 3]`` (0..1) at ``fps`` frames per second, with an AUDIO or None."""
    rate = Fraction(fps).limit_denominator(100_000)
    if not IN_COMFYUI:
        return frames, rate
    from comfy_api.input_impl import VideoFromComponents
    from comfy_api.util import VideoComponents

    return VideoFromComponents(VideoComponents(images=frames, audio=audio, frame_rate=rate))


def preview(files: list[Path], *, moving: bool) -> dict[str, Any]:
    """The ``ui`` part of a node's answer that shows these media files in the node."""
    if not IN_COMFYUI:
        return {}
    copies = filter(None, map(_shared, files))
    shown = [{"filename": copy.name, "subfolder": "", "type": "temp"} for copy in copies]
    # Always both: for a list, ComfyUI merges the answers by the names in the first one.
    return {"images": shown, "animated": (moving,)}


def _shared(file: Path) -> Path | None:
    """The same file in ComfyUI's folder for temporary files, which it serves, and empties when it starts.

    None if that folder cannot be written: the result must not be lost because of that.
    """
    folder = Path(get_temp_directory())
    copy = folder / f"xalora_{file.stem[:16]}{file.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            _link_or_copy(file, copy)
    except OSError as error:
        logger.warning("There is no preview of %s: %s", file, error)
        return None
    return copy


def _link_or_copy(file: Path, copy: Path) -> None:
    try:
        copy.hardlink_to(file)
    except OSError:  # Another disk, or one without links.
        unfinished = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}.part")
        try:
            shutil.copyfile(file, unfinished)
            unfinished.replace(copy)
        finally:
            unfinished.unlink(missing_ok=True)


class Prompt:
    """The Xalora nodes that run in one prompt. ComfyUI runs each prompt on its own event loop.

    ComfyUI does not wake nodes that wait, so a thread checks whether Cancel was pressed, even while another node's
    sampler blocks the event loop. Then all work is canceled together. No node reports the interruption before all have
    sent their cancels, because the first report tears down the loop.
    """

    _prompts: WeakKeyDictionary[asyncio.AbstractEventLoop, Prompt] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.interrupted = False
        self.at_work: set[asyncio.Task[Any]] = set()
        self.submitted: set[str] = set()  # The tasks that this prompt created.

    @classmethod
    def current(cls) -> Prompt:
        """The prompt of the running event loop."""
        return cls._prompts.setdefault(asyncio.get_running_loop(), cls())

    def should_cancel(self, stop: BaseException) -> bool:
        """Whether the user canceled the wait. The failure of another node also cancels it."""
        # ComfyUI's progress bar raises Interrupted, and resets the flag.
        return isinstance(stop, Interrupted) or self.interrupted or interrupted()

    def check(self) -> None:
        """Raise Interrupted once Cancel was pressed. For work in threads, which cannot be canceled otherwise."""
        if self.interrupted:
            raise Interrupted

    async def run(self, work: Coroutine[Any, Any, T], each_second: Callable[[], object]) -> T:
        """Await the work, calling ``each_second`` meanwhile. Raises Interrupted when Cancel is pressed."""
        if self.interrupted or interrupted():  # A node that begins while the others are being canceled.
            work.close()
            raise Interrupted
        task = asyncio.create_task(work)
        self.at_work.add(task)
        if len(self.at_work) == 1:
            threading.Thread(
                target=self._watch, args=(asyncio.get_running_loop(),), name="xalora-interrupt", daemon=True
            ).start()
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=1.0)
                each_second()
            if not self.interrupted and isinstance(_exception_of(task), Interrupted):
                self._interrupt()  # ComfyUI's progress bar saw the flag, and reset it, before the watch did.
            if self.interrupted:
                await asyncio.wait(set(self.at_work))
                raise Interrupted
            return task.result()
        finally:
            if not task.done():
                # ComfyUI leaves the prompt, which also cancels the work. The work may still have a task to cancel or an
                # id to record, and the client is closed after this.
                if not getattr(task, "cancelling", int)():  # Before Python 3.11, this cannot be known.
                    task.cancel()
                await asyncio.wait({task})
            self.at_work.discard(task)

    def _interrupt(self) -> None:
        self.interrupted = True
        for task in self.at_work:
            task.cancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        pause = threading.Event()
        while self.at_work and not loop.is_closed():
            if interrupted():
                self.interrupted = True
                with suppress(RuntimeError):  # The loop was closed meanwhile.
                    loop.call_soon_threadsafe(self._interrupt)
                return
            pause.wait(SECONDS_BETWEEN_LOOKS)


def _exception_of(task: asyncio.Task[Any]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
