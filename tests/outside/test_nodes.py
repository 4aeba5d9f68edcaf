"""What saved workflows and ComfyUI read from the nodes besides names, kinds and defaults of inputs and outputs.

Those are in ``tests/nodes/snapshot.json``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.processes import PATIENCE, ROOT, bare_environment
from tests.support.snapshot import Snapshot

LOAD = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("pack-of-tests", sys.argv[1] + "/__init__.py")
pack = sys.modules["pack-of-tests"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
RULES = ("min", "max", "step", "round", "multiline", "dynamicPrompts", "control_after_generate", "forceInput")
CLASS = ("CATEGORY", "OUTPUT_NODE", "INPUT_IS_LIST", "OUTPUT_IS_LIST", "DEPRECATED", "EXPERIMENTAL")
told = {"web": pack.WEB_DIRECTORY}
for name, node in pack.NODE_CLASS_MAPPINGS.items():
    inputs = node.INPUT_TYPES()
    rules = {
        each: {rule: spec[1][rule] for rule in RULES if rule in spec[1]}
        for section in ("required", "optional") for each, spec in inputs.get(section, {}).items()
    }
    told[name] = {
        **{each: getattr(node, each) for each in CLASS if hasattr(node, each)},
        "hidden": inputs.get("hidden", {}),
        "decides when to run": hasattr(node, "IS_CHANGED"),
        "checks its inputs": hasattr(node, "VALIDATE_INPUTS"),
        "inputs": rules,
    }
print(json.dumps(told))
"""


def test_rules_of_inputs_and_classes(tmp_path: Path, snapshot: Snapshot) -> None:
    """Loaded by its path, as ComfyUI does it."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, ROOT],
        cwd=tmp_path, env=bare_environment(), capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    snapshot.check("nodes", json.loads(done.stdout))
