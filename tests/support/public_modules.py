"""The public modules of the SDK and their names, as the README lists them."""

from __future__ import annotations

import re

import xalora_client
from tests.support.processes import ROOT

_ROW = re.compile(r"^\| `(xalora_client\.[\w.]+)` \| (.*) \|$", re.MULTILINE)

LISTED = {
    module: re.findall(r"`(\w+)`", names) for module, names in _ROW.findall((ROOT / "README.md").read_text("utf-8"))
}
"""Those beside ``xalora_client`` itself."""

PUBLIC = {"xalora_client": xalora_client.__all__, **LISTED}
