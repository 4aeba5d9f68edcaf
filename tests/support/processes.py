"""Processes: waiting for them, their environment, and the ``xalora`` command as one."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds an answer or an end may take on a machine that is busy with other things."""

T = TypeVar("T")


def poll(condition: Callable[[], T], patience: float = PATIENCE, what: str = "") -> T:
    """Return the condition's first true value; fail when there is none in time."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"still not after {patience:.0f} s: {what or condition}")


def bare_environment(**more: str) -> dict[str, str]:
    """This process's environment without what would steer the pack, and with ``more``."""
    steers = re.compile(r"XALORA_.*|.*_PROXY|PYTHONPATH|PYTHONWARNINGS|PYTEST_ADDOPTS", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if not steers.fullmatch(name)} | more


def readable(ends: list[Any], seconds: float) -> list[Any]:
    """Those of the files and sockets that can be read within so many seconds; select() knows only the first 1024."""
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(seconds)]


def free_port() -> int:
    """A port that nobody listens on, and that the system hands to nobody before it is used.

    Systems give the ports from 32768 up to whoever asks for any, also to the tests that run beside this one.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def start_script(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Python code in a process of its own, with pipes; it finds the client of this checkout."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def run_together(code: str, count: int, *arguments: object) -> list[str]:
    """Run code that waits for a line in some processes, which so begin at once; returns what each wrote."""
    processes = [start_script(code, *arguments) for _ in range(count)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * count, results
    return [output for output, _ in results]


class Command:
    """``xalora ARGUMENTS`` as a process. ``errors()`` is what it wrote to stderr so far.

    ``program`` is what Python runs in the place of the command.
    """

    def __init__(
        self,
        *arguments: object,
        cwd: Path,
        home: Path,
        stdin: str | None = None,
        program: Sequence[object] = ("-m", "xalora_client"),
        **environ: str,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *map(str, program), *map(str, arguments)],
            cwd=cwd,
            env=bare_environment(
                **{"PYTHONPATH": str(ROOT), "XALORA_HOME": str(home), "PYTHONUNBUFFERED": "1"} | environ
            ),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if stdin is not None:
            self.process.stdin.write(stdin)
            self.process.stdin.close()
            self.process.stdin = None
        self._output = _Reader(self.process.stdout)
        self._errors = _Reader(self.process.stderr)

    def errors(self) -> str:
        return self._errors.text()

    def output(self) -> str:
        return self._output.text()

    def first_line(self) -> str:
        """The first line on stdout, once it is there. Fails with what it wrote when it ends without one."""
        poll(lambda: "\n" in self.output() or self.process.poll() is not None)
        assert "\n" in self.output(), self.errors()
        return self.output().splitlines()[0]

    def said(self, pattern: str) -> re.Match[str]:
        """The first match on stderr, once it is there."""
        found: re.Match[str] = poll(lambda: re.search(pattern, self.errors()) or self.process.poll() is not None)
        match = re.search(pattern, self.errors())
        assert match is not None, (found, self.output(), self.errors())
        return match

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """The exit code, once the process has ended and all it wrote is there."""
        code = self.process.wait(PATIENCE)
        self._output.join()
        self._errors.join()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class _Reader:
    """Collects what comes through a pipe, so that it never fills."""

    def __init__(self, pipe: Any) -> None:
        self.parts: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.collected = ""
        self.thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self.thread.start()

    def _read(self, pipe: Any) -> None:
        for line in iter(pipe.readline, ""):
            self.parts.put(line)

    def text(self) -> str:
        while not self.parts.empty():
            self.collected += self.parts.get()
        return self.collected

    def join(self) -> None:
        self.thread.join(PATIENCE)
