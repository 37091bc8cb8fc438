"""Runtimes of exported graphs: one protocol, an entry each."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.config.artifacts import Format
from xfm.core.errors import UserError
from xfm.models.runtimes.graphs import MOST, Graph, PartGraph

Runner = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""A graph that runs: outputs by name, on the CPU in float32, of inputs by name."""
_LARGEST = 1 << 30
"""Bytes of weights from which they lie in a file of their own: an ONNX file may have 2 GB."""
_QUANTISED = ["MatMul", "Gemm", "Gather"]
"""Convolutions stay in float32: their integer form is slow in browsers, and moves vectors most."""


@dataclass(frozen=True)
class Runtime:
    """Writes and runs graphs of one format. `write` a graph, in evaluation mode, with the sides of its `axes`
    open; `open` a written one, ready to run, in bfloat16 where `half` allows it. `writes` and `runs` are the
    libraries needed, which `extra` of this package brings. `quantise` writes the second graph from the first,
    in eight bits."""

    name: str
    suffix: str
    write: Callable[[Graph, Path], None]
    open: Callable[..., Runner]
    writes: tuple[str, ...]
    runs: tuple[str, ...]
    extra: str
    quantise: Callable[[Path, Path], None] | None = None

    def load(self, writing: bool = False) -> "Runtime":
        """The runtime itself; a UserError where a library is missing."""
        if missing := [name for name in (self.writes if writing else self.runs) if find_spec(name) is None]:
            raise UserError(f"{self.name} needs {missing[0]}: pip install 'xfm[{self.extra}]'")
        return self


def traced(graph: Graph) -> Any:
    """A graph by torch.export with open axes, without gradients: with them, attention with a learned bias
    takes the way of training."""
    from torch.export import Dim

    sides = {
        name: Dim(name, min=2, max=graph.longest) if name == "length" else Dim(name, min=1, max=MOST)
        for axes in graph.axes.values()
        for name in axes.values()
    }
    shapes = tuple({place: sides[name] for place, name in graph.axes[one].items()} for one in graph.inputs)
    if isinstance(graph.module, PartGraph):
        shapes = (shapes,)  # its inputs are one argument of any length
    elif isinstance(graph.module, torch.nn.Sequential):
        shapes = {"input": shapes[0]}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts to one another
        return torch.export.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            dynamic_shapes=shapes,
            prefer_deferred_runtime_asserts_over_guards=True,  # the sides are proved by no solver
        )


def write_onnx(graph: Graph, path: Path) -> None:
    """Write ONNX by torch's exporter."""
    weights = sum(tensor.nbytes for tensor in graph.module.state_dict().values())
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                traced(graph),
                tuple(graph.inputs.values()),
                path,
                input_names=[*graph.inputs],
                output_names=[*graph.outputs],
                external_data=weights > _LARGEST,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)


def open_onnx(path: Path, half: bool = False) -> Runner:
    """Run ONNX with as many threads as torch has; `half` is not possible, which is said."""
    import onnxruntime

    if half:
        warnings.warn("ONNX Runtime computes as the model was exported, not in bf16", stacklevel=3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(zip(names, map(torch.from_numpy, session.run(None, _arrays(inputs))), strict=True))

    return run


def quantise(whole: Path, small: Path) -> None:
    """Write an ONNX graph with matrices and embeddings in eight bits, by a scale for each of their columns;
    activations are quantised as they come."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    graph, kind = onnx.load(whole), QuantType.QInt8
    add_pre_process_metadata(graph)  # else a step is recommended that these graphs have behind them
    quantize_dynamic(graph, small, op_types_to_quantize=_QUANTISED, per_channel=True, weight_type=kind)


def write_openvino(graph: Graph, path: Path) -> None:
    """Write `.xml` with `.bin`; weights stay in float32."""
    import openvino

    with tempfile.TemporaryDirectory() as place:
        write_onnx(graph, Path(place) / "graph.onnx")
        openvino.save_model(openvino.convert_model(Path(place) / "graph.onnx"), path, compress_to_fp16=False)


def open_openvino(path: Path, half: bool = False) -> Runner:
    """Run `.xml`; by itself OpenVINO would take bfloat16 where that is fast."""
    config = {
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = _core().compile_model(path, "CPU", config)
    names = [one.get_any_name() for one in compiled.outputs]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A request at a time: calls of several threads need a lock of theirs."""
        found = compiled(_arrays(inputs))
        return {name: torch.from_numpy(found[place].copy()) for place, name in enumerate(names)}

    return run


@cache
def _core() -> Any:
    """OpenVINO's core, one per process: its plugin replaces the signal stack of the thread that makes it
    and unmaps it when it goes; from another thread that leaves Python's faulthandler without one."""
    import openvino

    return openvino.Core()


def _arrays(inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.detach().contiguous().numpy() for name, tensor in inputs.items()}


_ONNX = Runtime(
    "onnxruntime", ".onnx", write_onnx, open_onnx, ("onnx", "onnxscript"), ("onnxruntime",), "onnx"
)
_OPENVINO = Runtime(
    "openvino", ".xml", write_openvino, open_openvino, ("openvino", *_ONNX.writes), ("openvino",), "openvino"
)
RUNTIMES: dict[Format, Runtime] = {
    Format.ONNX: _ONNX,
    Format.ONNX_INT8: replace(_ONNX, quantise=quantise),
    Format.OPENVINO: _OPENVINO,
}
"""Who runs each format."""
