"""The exported page searches as Python does, from files alone, and asks nobody else."""

import base64
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import xfm
from tests.demo.conftest import CONTRAST, CONTROLS, Visit
from tests.inference.models import save, tuned
from tests.refusals import expect_refusal
from xfm.cli.main import main
from xfm.config.image import Framing
from xfm.config.plain import to_plain
from xfm.config.world import WorldConfig
from xfm.data.images import load_image
from xfm.data.tokenizer import Tokenizer
from xfm.inference.web_export import write_web_folder
from xfm.models.artifacts import framed
from xfm.models.shipped import HOME
from xfm.world.captions import caption
from xfm.world.rng import Rng
from xfm.world.scene import Split
from xfm.world.units import WorkerState

MODULES = Path(os.environ.get("XFM_TEST_NODE_MODULES", "build/web/node_modules"))
if not (MODULES / "onnxruntime-web").is_dir():
    pytest.skip("the page's libraries are missing; `make services` has them", allow_module_level=True)
pytest.importorskip("onnxscript")
SIZES = {0: (300, 220), 1: (96, 96), 2: (64, 150), 3: (1500, 1100)}
NEAR = 0.02  # the most that eight bits change a cosine by
RANGES = (range(9, 0x250), range(0x300, 0x460), range(0x3000, 0x3100), range(0x1F340, 0x1F350))
ALPHABET = [*map(chr, chain(*RANGES, (0x661, 0x2009, 0x4E2D, 0x6587, 0xAC00, 0xFEFF)))]


class Isolated(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:  # the page may have several threads
        self.send_header("cross-origin-opener-policy", "same-origin")
        self.send_header("cross-origin-embedder-policy", "require-corp")
        super().end_headers()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web") / "page"
    assert main(["export", "small", str(folder), "--format", "web", "--node-modules", str(MODULES)]) == 0
    shutil.copyfile(HOME / "photos" / "tokenizer.json", folder / "pieces.json")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Isolated, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()


def drawn(folder: Path, count: int) -> list[str]:
    """Scenes in several sizes and formats; their captions."""
    studio, captions = WorkerState(replace(WorldConfig(), image_size=384), Path()), []
    for number in range(count):
        rng = Rng("page", number)
        scene = studio.sampler(Split.SEEN).place(rng, studio.sampler(Split.SEEN).choose(rng, 1 + number % 3))
        picture = Image.fromarray(studio.renderer.render(scene)).resize(SIZES[number % 4])
        captions.append(caption(rng, scene))
        (exif := Image.Exif())[0x112] = 1 + number % 8
        more: Any = ({"exif": exif, "quality": 95}, {}, {"lossless": True})[number % 3]
        picture.save(folder / f"{number:02}.{('jpg', 'png', 'webp')[number % 3]}", **more)
    Image.new("RGBA", (50, 80), (250, 20, 20, 90)).save(folder / "clear.png")
    return captions


def test_a_search_is_that_of_python(address: str, visit: Callable[..., Visit], tmp_path: Path) -> None:
    (folder := tmp_path / "pictures").mkdir()
    captions = drawn(folder, 40)
    model, paths = xfm.load("small"), sorted(folder.iterdir())
    expected = model.similarity(captions[:10], paths)  # [10, 41]
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "notes.txt").write_text("no picture")
    page = (gone := visit(address, color_scheme="dark")).page
    page.set_input_files("#folder", folder)
    page.wait_for_selector("body[data-done=true]")
    assert "41 pictures can be searched." in page.inner_text("#status")
    assert "1 skipped" in page.inner_text("#skipped")
    for row, text in zip(expected, captions, strict=False):
        page.fill("#query", text)
        page.press("#query", "Enter")
        page.locator("#told", has_text=f"of 41 pictures to “{text}”").wait_for()
        shown = [one.split("\n") for one in page.locator("#hits .name").all_inner_texts()]
        cosines = dict(zip((f"pictures/{path.name}" for path in paths), row, strict=True))
        found = np.array([cosines.pop(name) for name, _ in shown])
        assert np.abs(found - [float(score) for _, score in shown]).max() < NEAR
        assert (np.maximum.accumulate(found[::-1])[::-1] - found).max() < 2 * NEAR  # the order
        assert max(cosines.values()) < found[-1] + 2 * NEAR
    assert page.evaluate(CONTRAST) == []
    assert all(one["name"] for one in page.evaluate(CONTROLS))
    assert page.evaluate("crossOriginIsolated")
    page.set_viewport_size({"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.reload()
    page.set_input_files("#folder", folder)
    page.locator("#status", has_text="41 of them known from before").wait_for()
    assert (gone.strangers, gone.faults) == ([], [])
    sent = "fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')"
    assert [one.evaluate(sent) for one in (page, page.workers[0])] == ["refused"] * 2
    assert gone.strangers == []  # by the policy, before the network
    assert any("Content Security Policy" in one for one in gone.faults)


PIXELS = """async ([bytes, told]) => {
  const { resized } = await import(new URL("prepare.js", location.href));
  const blob = new Blob([Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0))]);
  return [...resized(await createImageBitmap(blob, { colorSpaceConversion: "none" }), told)];
}"""


def test_pixels_are_those_of_python(address: str, visit: Callable[..., Visit], tmp_path: Path) -> None:
    drawn(tmp_path, 12)
    page, seen = visit(address).page, xfm.load("small").preprocessing
    for path in sorted(tmp_path.iterdir()):
        given = [base64.b64encode(path.read_bytes()).decode(), to_plain(seen)]
        wanted = framed(load_image(path), seen).permute(1, 2, 0).flatten().numpy().astype(int)
        exact = path.suffix != ".jpg" and path.name != "clear.png"  # other decoders round otherwise
        assert np.abs(wanted - page.evaluate(PIXELS, given)).max() <= (0 if exact else 3), path


IDS = """async ([texts, name, settings]) => {
  const { textIds } = await import(new URL("prepare.js", location.href));
  const { Tokenizer } = await import(new URL("tokenizers.min.mjs", location.href));
  const tokenizer = new Tokenizer(await (await fetch(name)).json(), {});
  return texts.map((text) => textIds(text, tokenizer, settings));
}"""


@pytest.mark.parametrize(("model", "name"), [("small", "tokenizer.json"), ("photos", "pieces.json")])
def test_ids_are_those_of_python(address: str, visit: Callable[..., Visit], model: str, name: str) -> None:
    drawing, tokenizer = random.Random(0), Tokenizer.load(HOME / model / "tokenizer.json")
    studio, frame = WorkerState(WorldConfig(), Path()), tokenizer.encode_batch([""], 60).ids[0].tolist()
    texts = ["", " ", "a <mask> dog", "[MASK] </s>", "word " * 99, "x" * 300]
    for number in range(1500):
        rng = Rng("ids", number)
        scene = studio.sampler().place(rng, studio.sampler().choose(rng, 1 + number % 4))
        texts += [caption(rng, scene), "".join(drawing.choices(ALPHABET, k=1 + number % 40))]
    for written in (False, True):
        settings = {"written": written, "longest": 60, "frame": frame, "caption_words": 30}
        found = visit(address).page.evaluate(IDS, [texts, name, settings])
        tokens = tokenizer.encode_batch(texts if written else [*map(tokenizer.as_caption, texts)], 60)
        wanted = [row[real].tolist() for row, real in zip(tokens.ids, tokens.mask, strict=True)]
        apart = [text for text, one, other in zip(texts, found, wanted, strict=True) if one != other]
        # Letters that few write: a browser has other tables of Unicode.
        assert len(apart) < len(texts) / 500
        assert not any(map(str.isascii, apart))


def test_another_framing_is_refused(tmp_path: Path) -> None:
    found = tuned(None)
    other: Any = replace(found, preprocessing=replace(found.preprocessing, framing=Framing.SHORTEST))
    with expect_refusal("shortest", "--format onnx"):
        write_web_folder(save(tmp_path / "model", other), tmp_path / "page", MODULES)
