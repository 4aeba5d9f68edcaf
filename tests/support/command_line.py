"""Running the `xalora` command in tests: in this process, and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager

import requests
from PIL import Image

from tests.support.pictures import encoded
from tests.support.processes import PATIENCE, ROOT, poll, readable
from tests.support.subject import SECRET

SMALL = ["--width", "64", "--height", "48", "--length", "5"]


class Outcome:
    """What one run of the command did."""

    def __init__(self, code, captured):
        self.code, self.out, self.err = code, captured.out, captured.err

    @property
    def json(self):
        """The one JSON object on stdout."""
        assert self.out.count("\n") == 1
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


def picture(width=24, height=16, kind="PNG"):
    """The file of a picture in PNG or JPEG."""
    return encoded(Image.new("RGB", (width, height), (200, 30, 90)), kind)


def state_of(server, task_id, key=SECRET):
    """The task's status as the server answers."""
    answer = requests.post(f"{server.url}/task_result_query", json={"task_id": task_id, "api_key": key}, timeout=30)
    return answer.json().get("status")


class Terminal:
    """A command whose stdin, stdout and stderr are a terminal; ``shown`` is what stood on it."""

    def __init__(self, process, end):
        self.process, self.end, self.shown = process, end, ""

    def read(self):
        """Take in what is there; False once the other end is closed."""
        if not readable([self.end], 0.05):
            return True
        try:
            data = os.read(self.end, 65536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def until(self, text):
        poll(lambda: self.read() and text in self.shown)

    def write(self, text):
        os.write(self.end, text.encode())

    def wait(self):
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read()
        while self.read() and readable([self.end], 0):
            pass
        return self.process.returncode


@contextmanager
def on_terminal(*arguments, home, cwd, **environ):
    end, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "xalora_client", *map(str, arguments)],
        stdin=other, stdout=other, stderr=other, cwd=cwd, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XALORA_HOME": str(home), "TERM": "xterm"} | environ,
    )  # fmt: skip
    os.close(other)
    try:
        yield Terminal(process, end)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(end)
