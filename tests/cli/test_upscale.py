"""`xalora upscale`: one image or many, from files and addresses, to files and folders."""

from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image

from tests.support.command_line import picture
from tests.support.fake_file_server import File
from tests.support.fake_sequencer import Answer, status
from tests.support.pictures import encoded
from tests.support.quick_time import FastClock, hurry
from xalora_client import AdvancedOptions


def test_one_file_to_a_file(xalora, preview, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    done = xalora("upscale", "a.png", "-o", "b.png", "--json")
    assert done.code == 0
    assert [(each["image"], each["path"], each["width"]) for each in done.json["results"]] == [("a.png", "b.png", 48)]
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (48, 32)


def test_several_to_a_new_folder_where_names_collide(xalora, preview, tmp_path, monkeypatch):
    hurry(monkeypatch, AdvancedOptions, FastClock(20))  # One picture comes twice: its second task waits for the first.
    names = {"x.png": 10, "one/x.png": 11, "two/x.jpg": 12, "x-upscaled.png": 13, "x-upscaled-2.png": 14}
    for name, width in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(width, kind="JPEG" if name.endswith("jpg") else "PNG"))
    done = xalora("upscale", *names, "x.png", "-o", "new/folder", "--json")
    assert done.code == 0, done.err
    results = done.json["results"]
    assert [each["image"] for each in results] == [*names, "x.png"]
    assert len({each["path"] for each in results}) == len(results) == len(list((tmp_path / "new/folder").iterdir()))
    for each in results:
        with Image.open(tmp_path / each["path"]) as image:
            assert image.width == 2 * names[each["image"]]


def test_one_to_a_folder(xalora, preview, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "there").mkdir()
    assert xalora("upscale", "a.png", "-o", "there").out == "there/a-upscaled.png\n"
    assert xalora("upscale", "a.png", "-o", "new/").out == "new/a-upscaled.png\n"


def test_a_url_and_a_data_uri(xalora, scripted, files, tmp_path):
    url = f"{files.url}/cat.png?token=1"
    uri = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    done = xalora("upscale", url, uri, "-o", "out")
    assert done.code == 0
    assert done.out.splitlines() == ["out/cat-upscaled.png", "out/image-upscaled.png"]
    sent = [seen.body["task_details"]["parameters"]["image"] for seen in scripted.seen if seen.path == "/task_create"]
    assert set(sent) == {url, uri}


@pytest.mark.parametrize("kind", ["cut.png", "cut.jpg", "moving.gif", "data"])
def test_what_would_not_be_enlarged_is_refused_before_it_is_paid_for(xalora, scripted, tmp_path, kind):
    whole = encoded(Image.effect_noise((200, 200), 50), "JPEG" if kind == "cut.jpg" else "PNG")
    image = kind
    if kind == "data":
        image = f"data:image/png;base64,{base64.b64encode(whole[:3000]).decode()}"
    elif kind == "moving.gif":
        Image.new("L", (8, 8)).save(tmp_path / kind, save_all=True, append_images=[Image.new("L", (8, 8), 255)])
    else:
        (tmp_path / kind).write_bytes(whole[:3000])
    refused = xalora("upscale", image, "-o", "out.png", "--json")
    assert refused.code == 2
    assert kind in refused.json["message"] or kind == "data"
    assert "/task_create" not in [seen.path for seen in scripted.seen]


def test_a_bmp_is_sent_as_png(xalora, preview, tmp_path):
    (tmp_path / "a.bmp").write_bytes(encoded(Image.new("RGB", (24, 16), "red"), "BMP"))
    assert xalora("upscale", "a.bmp", "-o", "b.png").code == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (48, 32)


def test_a_url_that_the_sandbox_fetches(xalora, preview, files, tmp_path):
    assert xalora("upscale", files.serve("/a.png", File(picture())), "-o", "b.png").code == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (48, 32)


@pytest.mark.parametrize("name", ["missing.png", "text.png", "empty.png", "folder", "movie.mp4"])
def test_what_is_no_image_is_refused_before_anything_is_sent(xalora, scripted, tmp_path, name):
    (tmp_path / "good.png").write_bytes(picture())
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").write_text("")
    (tmp_path / "movie.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isomiso2")
    (tmp_path / "folder").mkdir()
    refused = xalora("upscale", "good.png", name, "-o", "out", "--json")
    assert refused.code == 2
    assert name in refused.json["message"]
    assert scripted.seen == []


def test_at_most_so_many_at_once(xalora, scripted, tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(picture(16 + number))
    assert xalora("upscale", "0.png", "1.png", "-o", "out", "--max-parallel", 1).code == 0
    # What the server takes is asked once; this one takes images inside the create alone.
    assert scripted.paths() == ["", *["task_create", "task_result_query"] * 2]
    refused = xalora("upscale", "0.png", "-o", "out", "--max-parallel", 0)
    assert refused.code == 2
    assert "--max-parallel" in refused.err


def test_a_folder_and_a_pattern_that_the_shell_left_as_it_is(xalora, scripted, tmp_path):
    (tmp_path / "photos").mkdir()
    for width, name in enumerate(("b.png", "a.png", "c.JPG", "d[1].png"), 16):
        kind = "JPEG" if name.endswith("JPG") else "PNG"
        (tmp_path / "photos" / name).write_bytes(picture(width, kind=kind))
    for name in ("notes.txt", ".DS_Store", "empty.png"):
        (tmp_path / "photos" / name).write_text("")

    def enlarged(*images):
        return [each["image"] for each in xalora("upscale", *images, "-o", "new/", "--json").json["results"]]

    names = [f"photos/{name}" for name in ("a.png", "b.png", "c.JPG", "d[1].png")]
    assert enlarged("photos") == enlarged("photos/") == names
    assert enlarged("photos/?.png", "photos/c.*") == names[:3]
    assert enlarged("photos/d[1].png") == names[3:]
    for none in ("photos/*.gif", "*/nowhere/*", "x" * 300):
        refused = xalora("upscale", none, "-o", "new/", "--json")
        assert (refused.code, none[:50] in refused.json["message"]) == (2, True)


def test_one_failure_does_not_stop_the_others(xalora, preview, files, tmp_path):
    gone = [files.serve(f"/{name}.png", File(b"gone", 404)) for name in ("gone", "lost")]
    (tmp_path / "good.png").write_bytes(picture())
    arguments = ["upscale", gone[0], "good.png", gone[1], "-o", "out"]
    done = xalora(*arguments)
    assert done.code == 1
    assert done.out == "out/good-upscaled.png\n"
    for each in gone:
        assert re.search(rf"^xalora: {re.escape(each)}: .*answered 404", done.err, re.MULTILINE)
    assert "xalora: good.png: " not in done.err
    done = xalora(*arguments, "--json")
    assert done.code == 1
    assert done.json["error"] == "TaskFailedError"
    assert [(each["image"], each["error"]) for each in done.json["failed"]] == [
        (each, "TaskFailedError") for each in gone
    ]
    assert [each["image"] for each in done.json["results"]] == ["good.png"]


def test_each_image_is_named_in_the_progress(xalora, scripted, tmp_path):
    for width, name in enumerate(("a.png", "b.png"), start=16):
        (tmp_path / name).write_bytes(picture(width))
    lines = xalora("upscale", "a.png", "b.png", "-o", "out").err
    assert "a.png: task t1 queued 0:00" in lines
    assert "b.png: task t1 queued 0:00" in lines


def test_no_more_images_are_uploaded_ahead_than_are_worked_on(xalora, scripted, files, tmp_path):
    names = [f"{number}.png" for number in range(5)]
    for width, name in enumerate(names, 16):
        (tmp_path / name).write_bytes(picture(width))
    numbers, ahead = iter(range(5)), []

    def finish(seen):
        ahead.append(scripted.count("image_upload") - len(ahead))
        return status("finished", result=f"{files.url}/result.png")

    scripted.script("", Answer({"service": "Xalora sequencer", "image_upload": True}))
    scripted.script("image_upload", Answer({"image": f"{scripted.url}/images/t1"}))
    scripted.script("task_create", lambda _: Answer({"task_id": f"t{next(numbers)}"}))
    scripted.script("task_result_query", finish)
    assert xalora("upscale", *names, "-o", "new/", "--max-parallel", 1).code == 0
    assert len(ahead) == 5
    assert max(ahead) <= 2


@pytest.mark.parametrize("kind", ["cut.png", "cut.jpg", "wrong.png", "moving.gif", "cut.tiff", "data"])
@pytest.mark.parametrize("before", [1, 30])
def test_a_damaged_one_among_several_is_found_before_the_first_create(xalora, scripted, tmp_path, kind, before):
    """However many go before it, also in another order than they are worked on."""
    for number in range(before):
        (tmp_path / f"{number}.png").write_bytes(picture(16 + number))
    noise = Image.effect_noise((200, 200), 50)
    whole = encoded(noise, {"cut.jpg": "JPEG", "cut.tiff": "TIFF"}.get(kind, "PNG"))
    damaged = whole[:3000]
    if kind == "wrong.png":  # Complete, but its pixels are not what was written.
        damaged = whole[:3000] + bytes(500) + whole[3500:]
    elif kind == "moving.gif":
        noise.save(tmp_path / kind, save_all=True, append_images=[Image.new("L", noise.size)])
        damaged = (tmp_path / kind).read_bytes()
    image = f"data:image/png;base64,{base64.b64encode(damaged).decode()}" if kind == "data" else kind
    (tmp_path / kind).write_bytes(damaged)
    good = [f"{number}.png" for number in range(before)]
    refused = xalora("upscale", *good, image, "https://example.com/a.png", "-o", "out", "--json")
    assert (refused.code, refused.json["results"], scripted.seen) == (2, [], [])
    (failed,) = refused.json["failed"]
    assert failed["image"] == image
    assert ("reading all 32 images first" in refused.err) == (before == 30)


def test_a_whole_one_is_decoded_once(xalora, scripted, tmp_path, monkeypatch):
    opened, original = [], Image.open
    monkeypatch.setattr(Image, "open", lambda file, *options: (opened.append(file), original(file, *options))[1])
    whole = {"a.png": picture(), "b.jpg": picture(kind="JPEG")}
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
    assert xalora("upscale", *whole, "-o", "out").code == 0
    contents = [file.getvalue() for file in opened if isinstance(file, io.BytesIO)]
    assert sorted(contents) == sorted(whole.values())
