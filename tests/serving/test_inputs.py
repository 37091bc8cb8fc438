"""What a request may hold: pictures as data, and never a path of the server."""

import base64
from pathlib import Path

from tests.refusals import expect_refusal
from xfm.config.tasks import task_spec
from xfm.serving.inputs import RequestImages, SentImage, decoded, sent_in, with_pictures

DATA = "data:image/png;base64," + base64.b64encode(b"bytes").decode()
SENT = SentImage(DATA)


def test_texts_and_pictures_in_every_shape() -> None:
    inputs = RequestImages(frozenset())
    for given in (
        DATA,
        {"image": DATA},
        {"image": {"url": DATA}},
        {"type": "image_url", "image_url": {"url": DATA}},
    ):
        assert inputs.text_or_picture(given) == {"image": SENT}
    for given in ("a dog", {"text": "a dog"}, {"type": "text", "text": "a dog"}):
        assert inputs.text_or_picture(given) == {"text": "a dog"}


def test_addresses_of_allowed_hosts_alone() -> None:
    inputs = RequestImages(frozenset({"images.example.org"}))
    assert inputs.picture("https://images.example.org/a.png") == SentImage("https://images.example.org/a.png")
    for url in (
        "https://example.org/a.png",
        "https://images.example.org.evil.net/a",
        "https://images.example.org@x/",
    ):
        with expect_refusal("only from images.example.org"):
            inputs.picture(url)


def test_fields_of_a_task() -> None:
    inputs = RequestImages(frozenset())
    reasoning, vqa = task_spec("reasoning").inputs, task_spec("vqa").inputs
    assert inputs.of_task({"images": [DATA, DATA], "text": "x"}, reasoning)["images"] == [SENT, SENT]
    assert inputs.of_task({"left": DATA, "right": DATA, "text": "x"}, reasoning)["left"] == SENT
    assert inputs.of_task({"image": DATA, "question": "/etc/passwd"}, vqa) == {
        "image": SENT, "question": "/etc/passwd",
    }  # fmt: skip
    for given in ({"images": [str(Path(__file__)), DATA], "text": "x"}, {"left": "a.png", "right": DATA}):
        with expect_refusal("cannot be asked for"):
            inputs.of_task(given, reasoning)
    with expect_refusal("an input is an object with image"):
        inputs.of_task("x", vqa)


def test_pictures_are_decoded_later_and_take_their_place() -> None:
    assert decoded(SENT) == b"bytes"
    for damaged in ("data:image/png;base64,@@", "data:image/png;base64,Y"):
        with expect_refusal("damaged"):
            decoded(RequestImages(frozenset()).picture(damaged))
    given = {"images": [SENT, SENT], "text": "x", "left": SENT}
    assert list(sent_in(given)) == [SENT] * 3
    assert with_pictures(given, {SENT: 1}) == {"images": [1, 1], "text": "x", "left": 1}
