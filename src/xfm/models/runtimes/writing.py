"""Export of a model as graphs, compared with the model."""

from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.config.artifacts import INT8, MANIFEST, Format, GraphFile, Manifest
from xfm.config.plain import to_plain
from xfm.core.errors import UserError
from xfm.core.files import write_text
from xfm.models.composition import PAIR_HEADS
from xfm.models.folder import Pretrained
from xfm.models.model_files import as_json, saving, write_description
from xfm.models.runtimes.backends import RUNTIMES, Runner
from xfm.models.runtimes.graphs import IMAGE, TEXT, Graph, graphs_of
from xfm.models.runtimes.loading import HEADS_FILE, open_exported
from xfm.models.self_check import record
from xfm.models.task_models import Answerer, Captioner
from xfm.models.weights import write_tensors

SIZES = (1, 2, 5)
"""Of open sides, in turn: batches of one are what tracing specialises on."""
CLOSE = 1e-3
"""Most difference of a number from the module's, as a part of the largest of its tensor and one more."""
CHECKED = 12
"""Batches of random inputs on which eight bits are compared with float32."""


def random_inputs(graph: Graph, turn: int) -> dict[str, Tensor]:
    """Inputs of a graph with sizes other than traced, the same for each turn."""
    generator = torch.Generator().manual_seed(turn)
    sides = {name: 0 for axes in graph.axes.values() for name in axes.values()}
    for place, name in enumerate(sides):
        sides[name] = SIZES[(turn + place) % len(SIZES)]
    if "length" in sides:
        sides["length"] = min(graph.longest, (2, 11, 30)[turn % 3])
    found = {}
    for name, tensor in graph.inputs.items():
        shape = [
            sides[graph.axes[name][p]] if p in graph.axes[name] else n for p, n in enumerate(tensor.shape)
        ]
        if tensor.dtype is torch.bool:  # of a ragged batch
            lengths = torch.randint(1, shape[1] + 1, (shape[0], 1), generator=generator)
            lengths[0] = shape[1]
            found[name] = torch.arange(shape[1]) < lengths
        elif tensor.dtype is torch.int64:
            most = sides["pictures"] if name == "index" else graph.vocabulary
            found[name] = torch.randint(0, most, shape, generator=generator)
        else:
            found[name] = torch.randn(shape, generator=generator)
    return found


@torch.no_grad()
def require_parity(graph: Graph, run: Runner, name: str, turns: int = len(SIZES)) -> None:
    """A UserError for a graph of which an output differs from its module's (`CLOSE`)."""
    for turn in range(turns):
        inputs = random_inputs(graph, turn)
        found, wanted, mask = run(inputs), graph.module(*inputs.values()), inputs.get("mask")
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for output, tensor in zip(graph.outputs, wanted, strict=True):
            real, apart = torch.ones_like(tensor), float("inf")
            if mask is not None and tensor.ndim == 3 and tensor.shape[:2] == mask.shape:
                real = mask[..., None].expand_as(tensor).float()
            if found[output].shape == tensor.shape:
                largest = ((found[output].float() - tensor.float()).abs() * real).max()
                apart = (largest / (1 + (tensor.abs() * real).max())).item()
            if not apart <= CLOSE:
                raise UserError(
                    f"{name}: its {output} differ by {apart:.2g} from those of torch, so that nothing was "
                    "written; try other versions of the libraries, and report this"
                )


def least_cosine(whole: Runner, small: Runner, inputs: Iterable[dict[str, Tensor]]) -> float:
    """Least cosine of the vectors of two graphs."""
    pairs = [(whole(one)["vector"], small(one)["vector"]) for one in inputs]
    return round(torch.cat([F.cosine_similarity(*pair) for pair in pairs]).min().item(), 5)


def _in_eight_bits(graph: Graph, path: Path, run: Runner, small: Path, run_small: Runner) -> GraphFile:
    least = least_cosine(run, run_small, (random_inputs(graph, turn) for turn in range(CHECKED)))
    if close := least >= INT8.cosine:
        small.replace(path)
        Path(f"{path}.data").unlink(missing_ok=True)  # a large graph's weights
    small.unlink(missing_ok=True)
    told = f"the least cosine of vectors in eight bits with those in float32 is {least}"
    told = f"in eight bits: {told}" if close else f"in float32: {told}, below {INT8.cosine}"
    return GraphFile(graph.name, path.name, f"{graph.about}; {told}", close)


def export(pretrained: Pretrained, out: Path | str, form: Format, source: str = "") -> Manifest:
    """Write every encoder and head of a model as a graph, in a folder that replaces an exported model;
    `source` is for the manifest. A UserError where the result differs from the model."""
    runtime = RUNTIMES[form].load(writing=True).load()  # what was written is run once
    if pretrained.check is None:
        check = record(pretrained.model.eval(), pretrained.artifacts)
        if check is None:
            raise UserError("the model gives no numbers, so that nothing can be exported")
        pretrained = replace(pretrained, check=check)
    with saving(out, MANIFEST, "an exported model") as draft:
        graphs, model, task = [], pretrained.model.eval(), pretrained.task
        for graph in graphs_of(model, None if task is None else task.eval()):
            path = draft / f"{graph.name}{runtime.suffix}"
            runtime.write(graph, path)
            run = runtime.open(path)
            require_parity(graph, run, f"{runtime.name}, {graph.name}")
            file = GraphFile(graph.name, path.name, graph.about)
            if runtime.quantise is not None and graph.name in (IMAGE, TEXT):
                runtime.quantise(path, small := draft / f"int8{runtime.suffix}")
                file = _in_eight_bits(graph, path, run, small, runtime.open(small))
            graphs.append(file)
        headed = None if isinstance(task, Answerer | Captioner) else task  # decoders are not exported
        write_description(draft, model.config, replace(pretrained.artifacts, task=headed))
        heads = {name: t for name, t in model.state_dict().items() if name.startswith(PAIR_HEADS)}
        write_tensors(draft / HEADS_FILE, heads)
        libraries = dict.fromkeys(("torch", *runtime.writes, *runtime.runs))
        manifest = Manifest(form, tuple(graphs), source, tuple(f"{one} {version(one)}" for one in libraries))
        write_text(draft / MANIFEST, as_json(to_plain(manifest)))
        open_exported(draft, name=f"{out} ({runtime.name})")  # compares it with the model
    return manifest
