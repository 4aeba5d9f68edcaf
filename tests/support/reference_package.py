"""The reference client, npm's heurist 0.0.43, as a program that tests run."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.subject import KEY

PACKAGE, VERSION = "heurist", "0.0.43"
CONNECTION = {"apiKey": KEY}

SCRIPT = """
import Heurist, * as heurist from 'heurist';

const { connection, calls } = JSON.parse(process.env.CALLS);
const { workflow } = new Heurist(connection);
const kinds = {
  text2video: heurist.Text2VideoTask, upscale: heurist.UpscalerTask, flux: heurist.FluxLoraTask,
};
const operations = {
  make: (kind, options) => workflow.executeWorkflowAndWaitForResult(new kinds[kind](options), 60000, 1000),
  start: (kind, options) => workflow.executeWorkflow(new kinds[kind](options)),
  query: (id) => workflow.queryTaskResult(id),
  cancel: (id) => workflow.cancelTask(id),
  resource: (...given) => workflow.resourceRequest(...given),
};

async function outcome([operation, ...given]) {
  try {
    return { value: await operations[operation](...given) };
  } catch (error) {
    return { error: error.message, details: error.errorDetails };
  }
}
const steps = async (chain) => {
  const outcomes = [];
  for (const call of chain) {
    // "$0" stands for what the chain's first call gave.
    outcomes.push(await outcome(call.map((each) => (each === '$0' ? outcomes[0].value : each))));
  }
  return outcomes;
};
console.log(JSON.stringify(await Promise.all(calls.map(steps))));
"""


def installed_package(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the package can be imported; it is installed once and kept among pytest's cached things."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("there is no Node.js")
    cache = getattr(pytestconfig, "cache", None)
    folder = cache.mkdir(f"{PACKAGE}-{VERSION}") if cache else tmp_path_factory.mktemp(PACKAGE)
    installed = folder / "installed"
    if not installed.exists():
        # Elsewhere first, because another process of the tests may install it at the same time.
        work = Path(tempfile.mkdtemp(dir=folder))
        (work / "package.json").write_text('{"private": true, "type": "module"}')
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{PACKAGE}@{VERSION}"]
        try:
            done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install the package within 120 s")
        if done.returncode:
            pytest.skip(f"npm cannot install the package: {done.stderr.strip().splitlines()[-1:]}")
        try:
            work.rename(installed)
        except OSError:  # The other was faster.
            if not installed.exists():
                raise
            shutil.rmtree(work)
    return installed


def run_reference(package: Path, server: Any, *chains: Any, **connection: str) -> Any:
    """Run chains of calls side by side, and return what each call gave or threw."""
    script = package / f"calls-{os.getpid()}.mjs"
    script.write_text(SCRIPT)
    given = {"connection": CONNECTION | {"workflowURL": server.url} | connection, "calls": chains}
    try:
        done = subprocess.run(
            ["node", script.name],
            cwd=package, env=os.environ | {"CALLS": json.dumps(given)}, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
    finally:
        script.unlink()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def media_of(outcome: Any) -> tuple[str, io.BytesIO]:
    """Content type and bytes of what a call made."""
    result = outcome["value"]
    assert result["status"] == "finished", result
    with urllib.request.urlopen(result["result"], timeout=30) as answer:
        return answer.headers["content-type"], io.BytesIO(answer.read())
