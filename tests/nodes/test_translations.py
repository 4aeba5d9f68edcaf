"""``locales/``: each language has every word of the nodes, the settings, the commands and the editor extension."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT
from xalora_client import errors
from xalora_client.errors import messages

LOCALES = ROOT / "locales"
LANGUAGES = ["en", "zh", "ja", "de"]
PLACEHOLDER = re.compile(r"\{\w+\}")
SCRIPTS = sorted((ROOT / "web").glob("*.js"))


def words(language: str, name: str) -> Any:
    return json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def node_words(pack: Any) -> dict[str, Any]:
    """What ``nodeDefs.json`` has in English: the nodes' own words."""
    told = {}
    for node_id, node in pack.classes.items():
        inputs = {name: {"name": name, "tooltip": spec[1]["tooltip"]} for name, spec in pack.inputs(node_id).items()}
        outputs = zip(node.RETURN_NAMES, node.OUTPUT_TOOLTIPS, strict=True)
        told[node_id] = {
            "display_name": pack.module.NODE_DISPLAY_NAME_MAPPINGS[node_id],
            "description": node.DESCRIPTION,
            "inputs": inputs,
            "outputs": {str(n): {"name": name, "tooltip": tip} for n, (name, tip) in enumerate(outputs)},
        }
    return told


class Placeholders(dict[str, object]):
    """Puts ``{name}`` where a text has it."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def error_words() -> dict[str, str]:
    """What a user of ComfyUI reads for each code; empty for those whose errors have their own text alone."""
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.XaloraError)]
    told = {}
    for code in sorted({each.code for each in kinds} | set(messages.MESSAGES)):
        words = messages.plain(code, Placeholders()) or messages.what(code, Placeholders())
        texts = filter(None, [words and f"{words}.", messages.advice(code, Placeholders(), "nodes")])
        told[code] = " ".join(texts) if code != "image" else words
    return told


def flat(value: Any, path: str = "") -> dict[str, str]:
    """Each of the nested words under the path of its keys."""
    if not isinstance(value, dict):
        return {path: value}
    return {place: text for key, each in value.items() for place, text in flat(each, f"{path}/{key}").items()}


def test_these_languages_are_there() -> None:
    assert sorted(path.name for path in LOCALES.iterdir()) == sorted(LANGUAGES)


def test_english_is_what_the_nodes_say(pack: Any) -> None:
    """With UPDATE_ENGLISH=1 it is written anew; the other languages must then follow."""
    nodes, lines, main = node_words(pack), pack.part("nodes.status_lines").Part.WORDS, words("en", "main")
    if os.environ.get("UPDATE_ENGLISH"):
        write(LOCALES / "en" / "nodeDefs.json", nodes)
        main |= {"xalora": main["xalora"] | {"status": lines}, "xaloraErrors": error_words()}
        write(LOCALES / "en" / "main.json", main)
    assert words("en", "nodeDefs") == nodes
    assert main["xalora"]["status"] == lines
    assert main["xaloraErrors"] == error_words()


def test_the_extension_has_all_of_its_texts_and_no_others() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in SCRIPTS)
    texts = set(words("en", "main")["xalora"]) - {"status"}
    one, several = ({*re.findall(rf'\b{call}\("(\w+)"', code)} for call in ("t", "many"))
    assert one | several | {f"{each}One" for each in several} <= texts
    # The others are put together, or named in a table: of each there is at least a part.
    parts = {*re.findall(r'"(\w+)"', code), *re.findall(r"[`(](\w+_?)\$\{", code)}
    assert [each for each in texts if not any(each.startswith(part) for part in parts)] == []


def write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


@pytest.mark.parametrize("language", LANGUAGES[1:])
@pytest.mark.parametrize("name", ["nodeDefs", "main", "settings", "commands"])
def test_each_language_has_the_same_words(language: str, name: str) -> None:
    english, other = flat(words("en", name)), flat(words(language, name))
    assert sorted(other) == sorted(english)
    assert all(other.values())
    for place, text in english.items():
        found, wanted = (sorted(PLACEHOLDER.findall(each)) for each in (other[place], text))
        # What the pack has in English alone, such as a rule in words, is folded.
        assert found == wanted or ("Errors" in place and set(found) <= set(wanted)), place


GIVEN = {
    "XaloraText2Video": "Xalora Text2Video",
    "XaloraUpscale": "Xalora Upscale",
    "XaloraTaskStatus": "Xalora Task Status",
    "XaloraFluxLora": "Xalora Flux LoRA",
    "XaloraRunWorkflow": "Xalora Run Workflow",
    "XaloraCancelTask": "Xalora Cancel Task",
}
"""The names by which people, workflows and pages know the nodes."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_given_name_of_a_node_can_be_read_in_every_language(language: str) -> None:
    names = {node_id: each["display_name"] for node_id, each in words(language, "nodeDefs").items()}
    assert names.keys() == GIVEN.keys()
    for node_id, given in GIVEN.items():
        assert names[node_id] == given or names[node_id].endswith(f" ({given})")


def test_words_of_nodes_have_nothing_that_the_editor_takes_for_a_placeholder() -> None:
    for language in LANGUAGES:
        assert [text for text in flat(words(language, "nodeDefs")).values() if re.search(r"[{}@|]", text)] == []


def test_settings_and_commands_are_those_of_the_extension() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in SCRIPTS)
    ids = {found.replace(".", "_") for found in re.findall(r'"(Xalora\.\w+)"', code) if found != "Xalora.Previews"}
    assert set(words("en", "settings")) | set(words("en", "commands")) == ids


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_descriptions_are_translated(language: str) -> None:
    for node_id, each in words("en", "nodeDefs").items():
        assert words(language, "nodeDefs")[node_id]["description"] != each["description"]
