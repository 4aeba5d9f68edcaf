"""mypy over the pack as ComfyUI sees it: one package, under whatever name its folder has.

``nodes`` imports ``..xalora_client``, so both must be parts of one package. On its command line mypy takes that
package's name from the folder, which can be anything, also no Python name. Here each file is given its module name.
Run it as ``python typings/check.py``; exits 1 when mypy finds something.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mypy.build import build
from mypy.errors import CompileError
from mypy.main import process_options
from mypy.modulefinder import BuildSource

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "xalora_nodes"


def sources() -> list[BuildSource]:
    """Every shipped file with its module's name."""
    files = [Path("__init__.py")]
    for folder in ("nodes", "xalora_client"):
        files += sorted(Path(folder).rglob("*.py"))
    return [BuildSource(str(file), ".".join([PACKAGE, *_module(file)])) for file in files]


def _module(file: Path) -> tuple[str, ...]:
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def main() -> int:
    """Print what mypy finds; returns the exit code."""
    os.chdir(ROOT)
    _, options = process_options(["--config-file", "pyproject.toml"])
    shipped = sources()
    try:
        errors = build(shipped, options).errors
    except CompileError as error:
        errors = error.messages
    if errors:
        print("\n".join(errors))
        return 1
    print(f"Success: no issues found in {len(shipped)} source files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
