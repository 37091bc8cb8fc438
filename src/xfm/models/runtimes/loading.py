"""Models from folders, run by torch or by the runtime of an exported model, which is usable as any model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from xfm.config.artifacts import FLOAT32, HALF, INT8, MANIFEST, Manifest
from xfm.config.model import ModelConfig
from xfm.config.typed import from_plain
from xfm.core.errors import UserError, explained
from xfm.core.files import read_json_object
from xfm.models.folder import Pretrained
from xfm.models.fusion import FusionQuery
from xfm.models.heads import mlp_head
from xfm.models.model_reading import read_artifacts, read_config, read_task
from xfm.models.runtimes.backends import RUNTIMES, Runner
from xfm.models.runtimes.graphs import FUSED_WORDS, FUSION, HEAD, IMAGE, TEXT, WORDS, PartGraph
from xfm.models.self_check import verify
from xfm.models.weights import read_tensors
from xfm.models.xfm import XFM


class RuntimeModel(XFM):
    """A model of runtime graphs; torch computes projections and small heads."""

    def __init__(
        self, config: ModelConfig, graphs: Mapping[str, Runner], heads: Mapping[str, Tensor]
    ) -> None:
        nn.Module.__init__(self)
        self.config, self.graphs, self.artifacts = config, graphs, None
        parts: Any = self
        parts.vision = PartGraph(partial(_pictures, graphs[IMAGE]))
        parts.language = PartGraph(partial(_texts, graphs[TEXT], config.language.pad))
        parts.fusion = PartGraph(partial(_fused, graphs[FUSION]))
        parts.vision.config, parts.language.config = config.vision, config.language
        width = config.language.width
        self.vision_proj = nn.Linear(config.vision.width, config.projection)
        self.text_proj = nn.Linear(width, config.projection)
        self.itm_head, self.bbox_head = mlp_head(width, 2), mlp_head(width, 4)
        self.temperature = nn.Parameter(torch.tensor([config.temperature]))
        self.load_state_dict({name: tensor.float() for name, tensor in heads.items()})

    def language_logits(self, states: Tensor) -> Tensor:
        """[N, Dt] states of the language encoder -> [N, V] token logits."""
        return self.graphs[WORDS]({"states": states.float()})["logits"]

    def fusion_logits(self, states: Tensor) -> Tensor:
        """[N, Dt] states of the fusion encoder -> [N, V] token logits."""
        return self.graphs[FUSED_WORDS]({"states": states.float()})["logits"]

    def resize(self, image_size: int, image_width: int | None = None) -> NoReturn:
        """ValueError: a graph keeps its size."""
        raise ValueError("an exported model keeps its size; export it again with the other one")


# These are bound to a graph, not to the model: without a cycle a model that is dropped frees its runtime.
def _pictures(graph: Runner, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
    if patch_mask is not None:
        refuse("hide patches")
    return graph({"pixels": pixels.float()})["states"]


def _texts(graph: Runner, pad: int, ids: Tensor, mask: Tensor) -> Tensor:
    if ids.shape[1] < 2:  # a text has a first and a last token, and the graphs count on it
        pads = ((ids, pad), (mask, 0))
        return _texts(graph, pad, *(nn.functional.pad(t, (0, 1), value=value) for t, value in pads))[:, :1]
    return graph({"ids": ids, "mask": mask})["states"]


def _fused(graph: Runner, queries: Sequence[FusionQuery]) -> list[Tensor]:
    answers = []
    for query in queries:
        if query.visible_keys is not None:
            refuse("look at regions of pictures")
        given = {
            "text": query.texts.states.float().index_select(0, query.text),
            "mask": query.texts.mask.index_select(0, query.text),
            "image": query.images.keys.float(),
            "index": query.image,
        }
        answers.append(query.answer(graph(given)["states"]))
    return answers


def refuse(what: str) -> NoReturn:
    """A UserError for what a graph cannot do."""
    raise UserError(f"an exported model cannot {what}; take the model folder that it was made from")


HEADS_FILE = "heads.safetensors"
"""Projections and heads that `RuntimeModel` computes by torch."""


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported model."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Manifest of an exported folder."""
    return from_plain(Manifest, read_json_object(folder / MANIFEST), folder / MANIFEST)


def open_exported(folder: Path | str, half: bool = False, check: bool = True, name: str = "") -> Pretrained:
    """Exported model, run by its runtime, its task where that has a head of classes. A UserError where
    library, file or self-check fail."""
    folder = Path(folder)
    config, shown = read_config(folder)
    own, manifest = read_artifacts(folder, config, shown), read_manifest(folder)
    runtime = RUNTIMES[manifest.format].load()
    if missing := {IMAGE, TEXT, FUSION} - {graph.name for graph in manifest.graphs}:
        raise UserError(f"{folder / MANIFEST} names no graph {min(missing)}; export the model again")
    graphs = {}
    for graph in manifest.graphs:
        path = folder / graph.file
        if Path(graph.file).name != graph.file or not path.is_file():
            raise UserError(f"{path} is missing; export the model again")
        if graph.name != HEAD:  # for other programs: here torch computes it
            with explained(f"{path} cannot be run", "export the model again"):
                graphs[graph.name] = runtime.open(path, half)
    with explained(f"{folder / HEADS_FILE} is not of this model", "export it again", RuntimeError):
        model = RuntimeModel(config, graphs, read_tensors(folder / HEADS_FILE)).eval()
    failing = f"{folder} has a task that an exported model cannot have"  # a decoder, which no graph has
    with explained(failing, "export it again", AttributeError):
        found = replace(own, task=read_task(folder, model))
    if check:
        most = INT8 if any(graph.int8 for graph in manifest.graphs) else HALF if half else FLOAT32
        verify(name or folder, model, found, most)
    return Pretrained(**vars(found), model=model)
