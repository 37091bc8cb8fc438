"""A static folder that searches pictures in a browser: encoders in eight bits, tokenizer and a page.

No server answers it: ONNX Runtime's build for browsers runs the encoders, and pictures stay where they are.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from torch import Tensor

from xfm.config.artifacts import Format
from xfm.config.image import Framing
from xfm.config.plain import to_plain
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError, explained
from xfm.core.files import file_digest, write_text
from xfm.data.images import MAX_PIXELS
from xfm.data.tokenizer import CAPTION_WORDS
from xfm.inference.engine import Engine, as_captions
from xfm.inference.input_parsing import ImageReader
from xfm.inference.pipeline import pipeline
from xfm.models.artifacts import Preprocessing, model_pixels, trained_on
from xfm.models.folder import load_model
from xfm.models.model_files import TOKENIZER, as_json, saving
from xfm.models.runtimes.backends import RUNTIMES, Runner, quantise
from xfm.models.runtimes.graphs import IMAGE, TEXT, graphs_of
from xfm.models.runtimes.writing import least_cosine, require_parity
from xfm.world.captions import caption
from xfm.world.rng import Rng
from xfm.world.scene import Split
from xfm.world.units import WorkerState

SETTINGS = "web.json"
LIBRARIES = {
    "onnxruntime-web/dist": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "@huggingface/tokenizers/dist": ("tokenizers.min.mjs",),
    "@huggingface/tokenizers": ("LICENSE",),  # that of the others is in their first lines
}
"""Folders of packages of npm, and the files in them that the page needs."""
INSTALL = "npm install --ignore-scripts onnxruntime-web@1.30 @huggingface/tokenizers@0.2"
PAIRS = 64
"""Scenes of the embedded world, with a caption each, on which eight bits are compared with float32."""
LEAST_COSINE = 0.98
"""Of a vector in eight bits with that in float32; below it nothing is written."""


@dataclass(frozen=True)
class WebSettings:
    """What the page is told: the `model` and what it was trained on; how pictures are prepared, and their
    most pixels; whether texts are read as they are `written`, or as captions of `caption_words`; most tokens
    of a text (`longest`), between those of `frame`. `cosines` are the least of pictures and texts; `weights`
    is a digest of the graphs."""

    model: str
    trained_on: str
    preprocessing: Preprocessing
    written: bool
    longest: int
    frame: tuple[int, ...]
    cosines: tuple[float, ...]
    weights: str
    max_pixels: int = MAX_PIXELS
    caption_words: int = CAPTION_WORDS


def write_web_folder(model: Path | str, out: Path, packages: Path) -> WebSettings:
    """Write the page of a model, as of `load_model`, into the folder `out`, which replaces an older page.
    `packages` is the `node_modules` that npm installed `LIBRARIES` in. UserError: a package is missing, the
    model prepares pictures otherwise than the page can, or a vector moves further than `LEAST_COSINE`."""
    onnx = RUNTIMES[Format.ONNX].load(writing=True).load()
    loaded, place = load_model(model), Path(model)
    engine = pipeline("embed", loaded).engine  # refuses a model that could not answer
    seen, tokenizer, longest = loaded.preprocessing, engine.tokenizer, engine.longest
    if seen.framing is not Framing.SQUASH or seen.grey:
        how = "grey" if seen.grey else seen.framing
        raise UserError(
            f"{model} sees pictures {how}, and the page squashes them, in colour: take --format onnx for it"
        )
    with saving(out, SETTINGS, "a page of --format web") as draft, tempfile.TemporaryDirectory() as scratch:
        remedy = f"install the two packages of npm, `{INSTALL}`, and give their folder by --node-modules"
        with explained(
            f"{packages} lacks a library of the page", remedy, FileNotFoundError, NotADirectoryError
        ):
            for folder, names in LIBRARIES.items():
                for name in names:
                    shutil.copy(packages / folder / name, draft)
        (draft / "LICENSE").rename(draft / "LICENSE-tokenizers")
        cosines, digests, inputs = list[float](), list[str](), _scenes(engine)
        for graph in (one for one in graphs_of(loaded.model, None) if one.name in inputs):
            whole, small = Path(scratch) / f"{graph.name}.onnx", draft / f"{graph.name}.onnx"
            onnx.write(graph, whole)
            require_parity(graph, run := onnx.open(whole), f"{onnx.name}, {graph.name}")
            quantise(whole, small)
            cosines.append(_compared(run, onnx.open(small), inputs[graph.name], graph.name))
            digests.append(file_digest(small)[:12])
        frame = tuple(tokenizer.encode_batch([""], longest).ids[0].tolist())
        settings = WebSettings(
            place.parent.name if place.name == "model" else place.name,
            trained_on(loaded.provenance), seen, tokenizer.written, longest, frame,
            tuple(cosines), "".join(digests),
        )  # fmt: skip
        write_text(draft / SETTINGS, as_json(to_plain(settings)))
        tokenizer.save(draft / TOKENIZER)
        for file in (files("xfm.inference") / "web").iterdir():
            (draft / file.name).write_bytes(file.read_bytes())
    return settings


def _scenes(engine: Engine) -> dict[str, list[dict[str, Tensor]]]:
    """Inputs of the two graphs, one a pass: what is quantised together is rounded by one scale."""
    seen, studio = engine.pretrained.preprocessing, WorkerState(WorldConfig(), Path())
    reader, sampler = ImageReader(seen, None), studio.sampler(Split.SEEN)
    found: dict[str, list[dict[str, Tensor]]] = {IMAGE: [], TEXT: []}
    for number in range(PAIRS):
        rng = Rng("web", number)
        scene = sampler.place(rng, sampler.choose(rng, 1 + number % 4))
        pixels = reader.read(studio.renderer.encode(scene)).pixels[None]
        found[IMAGE].append({"pixels": model_pixels(pixels, seen)})
        tokens = as_captions(engine, [caption(rng, scene)])
        found[TEXT].append({"ids": tokens.ids, "mask": tokens.mask})
    return found


def _compared(whole: Runner, small: Runner, inputs: Sequence[dict[str, Tensor]], name: str) -> float:
    least = least_cosine(whole, small, inputs)
    if not least >= LEAST_COSINE:
        raise UserError(
            f"eight bits move the vectors of the {name} encoder: cosine {least} with float32, below "
            f"{LEAST_COSINE}, so that nothing was written; export the model with --format onnx"
        )
    return least
