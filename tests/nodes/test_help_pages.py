"""``web/docs``: each node has a help page that names all it takes and gives, with a picture."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from PIL import Image

from tests.support.processes import ROOT

DOCS = ROOT / "web" / "docs"
NODE_IDS = [
    "XaloraText2Video", "XaloraUpscale", "XaloraTaskStatus", "XaloraFluxLora", "XaloraRunWorkflow", "XaloraCancelTask",
]  # fmt: skip
HEADINGS = ["Inputs", "Outputs", "What it costs", "If something happens on the way"]


def test_there_is_a_page_for_each_node_and_nothing_else(pack: Any) -> None:
    assert sorted(path.stem for path in DOCS.glob("*.md")) == sorted(pack.classes)
    assert sorted(path.stem for path in DOCS.glob("*.jpg")) == sorted(pack.classes)


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_page_names_all_inputs_and_outputs(pack: Any, node_id: str) -> None:
    page = (DOCS / f"{node_id}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {pack.module.NODE_DISPLAY_NAME_MAPPINGS[node_id]}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == HEADINGS
    for heading, names in (("Inputs", pack.inputs(node_id)), ("Outputs", pack.classes[node_id].RETURN_NAMES)):
        table = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| ([\w, ]+) \|", table, re.MULTILINE)[1:]
        assert [name for row in rows for name in row.split(", ")] == list(names)


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_page_has_a_small_picture_and_leads_to_the_task(node_id: str) -> None:
    page = (DOCS / f"{node_id}.md").read_text(encoding="utf-8")
    assert f"({node_id}.jpg)" in page
    picture = (DOCS / f"{node_id}.jpg").read_bytes()
    assert len(picture) < 60_000
    with Image.open(io.BytesIO(picture)) as opened:
        assert opened.format == "JPEG"
        assert opened.width <= 500
    assert "Xalora Task Status" in page
    assert "**Cancel**" in page or "Cancels" in page
    assert re.search(r"\bcrash\b", page)
