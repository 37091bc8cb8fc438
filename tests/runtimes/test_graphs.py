"""Every graph gives what the model gives, for batches and lengths that it was not traced with."""

import sys
from pathlib import Path

import pytest
import torch

from tests.alike import THOROUGH, thorough
from tests.inference.models import TASKS, tuned
from tests.processes import run
from tests.runtimes.conftest import needs
from xfm.config.artifacts import Format
from xfm.core.errors import UserError
from xfm.data.schema import Tokens
from xfm.models.runtimes.backends import RUNTIMES
from xfm.models.runtimes.graphs import HEAD, Graph, graphs_of
from xfm.models.runtimes.writing import SIZES, random_inputs, require_parity
from xfm.models.task_models import Classifier, HeadInputs, ImageClassifier, Reasoner

OF_ALL = ("image", "text", "fusion", "words", "fused_words")


def graphs(kind: str | None) -> dict[str, Graph]:
    found = tuned(kind)
    return {graph.name: graph for graph in graphs_of(found.model, found.task)}


def tokens(*lengths: int) -> Tokens:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Tokens(torch.randint(4, 200, mask.shape).masked_fill(~mask, 1), mask)


@torch.no_grad()
def test_the_modules_are_the_model() -> None:
    """Against the public methods of the model, which take other ways (packing, shared keys)."""
    found = tuned(None)
    model, made = found.model, graphs(None)
    pixels, said = torch.randn(2, 3, 32, 32), tokens(9, 4, 2)
    image, shown = made["image"].module(pixels)
    text, read = made["text"].module(said.ids, said.mask)
    torch.testing.assert_close(image, model.encode_image(pixels))
    torch.testing.assert_close(shown, model.embed_image(pixels))
    torch.testing.assert_close(read, model.embed_text(said.ids, said.mask))
    index = torch.tensor([1, 0, 1])
    states, match, box = made["fusion"].module(text, said.mask, image, index)
    fused = model.fuse(text, said.mask, image, index)
    torch.testing.assert_close(states[said.mask], fused[said.mask], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(match, model.match_logits(fused), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(box, model.boxes(fused), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made["words"].module(text[:, 1]), model.language_logits(text[:, 1]))
    torch.testing.assert_close(made["fused_words"].module(fused[:, 1]), model.fusion_logits(fused[:, 1]))


@pytest.mark.parametrize("kind", [kind for kind, task in TASKS.items() if task.classes])
@torch.no_grad()
def test_a_head_takes_what_its_description_says(kind: str) -> None:
    found = tuned(kind)
    task, model = found.task, found.model
    assert isinstance(task, Classifier)
    made = {graph.name: graph for graph in graphs_of(model, task)}
    said, pixels, index = tokens(7, 5), torch.randn(2, 3, 32, 32), torch.tensor([[0, 1], [1, 0]])
    seen = () if kind == "text-classification" else (task.encode_image(pixels), index)
    wanted = task.classify(HeadInputs(said, *seen))
    text, _ = made["text"].module(said.ids, said.mask)
    image, _ = made["image"].module(pixels)
    fused = [made["fusion"].module(text, said.mask, image, index[:, side])[0][:, 0] for side in (0, 1)]
    if isinstance(task, ImageClassifier):
        state = image[:, 0]
    elif isinstance(task, Reasoner):
        state = torch.cat(fused, dim=1)
    else:
        state = text[:, 0] if kind == "text-classification" else fused[0]
    torch.testing.assert_close(made[HEAD].module(state), wanted, rtol=1e-4, atol=1e-5)


EVERY = [(None, name) for name in OF_ALL] + [("reasoning", HEAD)]
SOME = [(form, "reasoning", HEAD) for form in Format]


@pytest.mark.parametrize(
    ("form", "kind", "name"), [(form, *one) for form in Format for one in EVERY] if THOROUGH else SOME
)
def test_a_runtime_gives_what_the_module_gives(
    form: Format, kind: str | None, name: str, tmp_path: Path
) -> None:
    """For several batches, lengths and ragged masks; batches of one, and what was traced, too.

    Of a model's own graphs `export` asks the same.
    """
    needs(form)
    graph, known = graphs(kind)[name], RUNTIMES[form]
    path = tmp_path / f"{name}{known.suffix}"
    known.load(writing=True).write(graph, path)
    graph_run = known.load().open(path)
    turns = 2 * len(SIZES)
    require_parity(graph, graph_run, name, turns)
    inputs = [random_inputs(graph, turn) for turn in range(turns)]
    assert len({tuple(tuple(one.shape) for one in given.values()) for given in inputs}) >= len(SIZES)
    assert all(set(graph_run(given)) == set(graph.outputs) for given in inputs)
    traced = graph_run(graph.inputs)
    assert {name: tuple(tensor.shape) for name, tensor in traced.items()}.keys() == set(graph.outputs)


def test_a_graph_that_differs_is_refused() -> None:
    graph = graphs(None)["image"]
    with torch.no_grad():
        states, vector = graph.module(graph.inputs["pixels"])

    def other(inputs):  # as a runtime would that computes in another way
        with torch.no_grad():
            states, vector = graph.module(inputs["pixels"])
        return {"states": states, "vector": vector.roll(1, dims=1)}

    assert states.shape[0] == vector.shape[0]
    with pytest.raises(UserError, match="vector differ"):
        require_parity(graph, other, "a runtime")


SIGNALLED = """
import faulthandler, os, signal, sys, threading
from pathlib import Path
from xfm.config.artifacts import Format
from xfm.models.runtimes.backends import RUNTIMES
faulthandler.enable()
signal.signal(signal.SIGUSR1, lambda *given: print("handled", flush=True))
held = [RUNTIMES[Format.OPENVINO].open(Path(sys.argv[1]))]
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@thorough
def test_a_model_of_openvino_that_goes_in_another_thread_leaves_signals_alone(tmp_path: Path) -> None:
    needs(Format.OPENVINO)
    graph = graphs(None)["words"]
    path = tmp_path / "words.xml"
    RUNTIMES[Format.OPENVINO].load(writing=True).write(graph, path)
    ended = run([sys.executable, "-c", SIGNALLED, str(path)])
    assert (ended.status, ended.out) == (0, "handled\n"), ended.err
