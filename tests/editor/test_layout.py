"""Where the examples' nodes lie: in no canvas does one cover another, or a link, before a run and after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Editor

CANVASES = {"classic": False, "Nodes 2.0": True}
SLACK = 2

BOXES = """modern => {
    const {scale, offset} = app.canvas.ds;
    const area = app.canvas.canvas.getBoundingClientRect();
    return app.graph.nodes.map(node => {
        const shown = modern && document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
        const box = shown
            ? [(shown.left - area.left) / scale - offset[0], (shown.top - area.top) / scale - offset[1],
               shown.width / scale, shown.height / scale]
            : [node.pos[0], node.pos[1] - 30, node.size[0], node.size[1] + 30];
        return [String(node.id), node.type, ...box];
    });
}"""
LINKS = """() => app.graph.nodes.flatMap(node => (node.inputs ?? []).flatMap((input, slot) => {
    const link = input.link == null ? null : app.graph.getLink?.(input.link) ?? app.graph.links[input.link];
    if (!link) return [];
    const from = app.graph.getNodeById(link.origin_id);
    return [[String(from.id), String(node.id),
        [...from.getConnectionPos(false, link.origin_slot)], [...node.getConnectionPos(true, slot)]]];
}))"""


@dataclass
class Box:
    """A node with its title, in the graph's coordinates."""

    node: str
    type: str
    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.x + SLACK < other.x + other.width
            and other.x + SLACK < self.x + self.width
            and self.y + SLACK < other.y + other.height
            and other.y + SLACK < self.y + self.height
        )

    def holds(self, x: float, y: float) -> bool:
        return self.x < x < self.x + self.width and self.y < y < self.y + self.height


def curve(start: list[float], end: list[float]) -> Iterator[tuple[float, float]]:
    """Points of a link as the editor draws it: a curve that leaves and arrives horizontally."""
    pull = ((start[0] - end[0]) ** 2 + (start[1] - end[1]) ** 2) ** 0.5 / 4
    xs = (start[0], start[0] + pull, end[0] - pull, end[0])
    ys = (start[1], start[1], end[1], end[1])
    for step in range(1, 40):
        t = step / 40
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        x, y = (sum(weight * value for weight, value in zip(weights, each, strict=True)) for each in (xs, ys))
        yield x, y


def covered(editor: Editor, modern: bool) -> list[str]:
    """What lies on top of what."""
    boxes = [Box(*each) for each in editor.js(BOXES, modern)]
    found = [f"{one.type} and {other.type}" for one, other in combinations(boxes, 2) if one.overlaps(other)]
    for origin, target, start, end in editor.js(LINKS):
        for box in boxes:
            if box.node not in (origin, target) and any(box.holds(x, y) for x, y in curve(start, end)):
                found.append(f"the link from {origin} to {target} behind {box.type}")
    return found


@pytest.fixture(params=CANVASES)
def modern(canvas: Editor, request: pytest.FixtureRequest) -> Iterator[bool]:
    """Either canvas; whether it is Nodes 2.0."""
    choose = "value => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', value)"
    canvas.js(choose, CANVASES[request.param])
    yield CANVASES[request.param]
    canvas.js(choose, False)


def test_nothing_covers_a_node_or_a_link(canvas: Editor, modern: bool, example: Path) -> None:
    canvas.load(json.loads(example.read_text(encoding="utf-8")))
    canvas.page.wait_for_timeout(500)
    assert covered(canvas, modern) == []
    canvas.queue()
    assert canvas.end()["name"] == "execution_success"
    canvas.page.wait_for_timeout(1500)  # Previews are loaded, and nodes grow.
    assert covered(canvas, modern) == []
