"""Training step and inference of the encoders beside timm's BEiT and transformers' RoBERTa, of equal shape.

    python benchmarks/encoders.py [--rounds 7] [--width 192] [--json encoders.json]

Ours and the peer alternate within one process, both in bf16 where the processor has it; the ratio is the
median over the rounds of peer / ours, so that above 1 ours is faster. A last line times the fusion encoder
with the queries of a picture side by side against a copy of keys and values for every query.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from timm.models.beit import Beit
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaModel

from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.training import Precision
from xfm.models import fusion
from xfm.models.interop.published.names import native_parts
from xfm.models.precision import autocast
from xfm.models.shared_kv import Memories, Memory, copied, remember
from xfm.models.xfm import XFM
from xfm.training.cpu_runtime import prepare_process

Run = Callable[[], Tensor]


class Layout(Protocol):
    """How padded texts attend to memories."""

    def __call__(self, memory: Memory, tokens: int) -> Memories: ...


@dataclass(frozen=True)
class Line:
    """One comparison; seconds are medians."""

    what: str
    peer: str
    ours_seconds: float
    peer_seconds: float
    ratio: float


def training(forward: Run, module: nn.Module) -> Callable[[], None]:
    """Forward and backward."""

    def step() -> None:
        with autocast(Precision.AUTO, "cpu"):
            loss = forward().float().square().mean()
        loss.backward()
        module.zero_grad(set_to_none=True)

    return step


def inference(forward: Callable[[], object]) -> Callable[[], None]:
    """Forward without gradients."""

    def step() -> None:
        with torch.inference_mode(), autocast(Precision.AUTO, "cpu"):
            forward()

    return step


@dataclass(frozen=True)
class Comparison:
    """What one task takes; `ours` and `theirs` are medians, in `unit`."""

    name: str
    peer: str
    ratio: float
    ours: float
    theirs: float
    unit: str


def seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def alternated(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, ...]:
    """Median of theirs / ours, and the median seconds of both; a first round is not counted."""
    ours()
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    ratio = statistics.median(second / first for first, second in pairs)
    return ratio, *(statistics.median(times) for times in zip(*pairs, strict=True))


def compare(what: str, peer: str, ours: Callable[[], None], theirs: Callable[[], None], rounds: int) -> Line:
    """One line of the table."""
    ratio, first, second = alternated(ours, theirs, rounds)
    return Line(what, peer, round(first, 4), round(second, 4), round(ratio, 2))


def build(width: int) -> XFM:
    heads = max(2, width // 48)
    return XFM(
        ModelConfig(
            vision=VisionConfig(224, 16, width, 4, heads, drop_path=0.0),
            language=LanguageConfig(3000, width, 4, heads, 4 * width, 130, dropout=0.0),
            fusion=FusionConfig(3, heads, 4 * width, dropout=0.0),
        )
    )


def encoders(model: XFM, rounds: int) -> list[Line]:
    vision, language = native_parts(model.config)
    beit = Beit(
        img_size=vision.image_size,
        patch_size=vision.patch_size,
        embed_dim=vision.width,
        depth=vision.depth,
        num_heads=vision.heads,
        init_values=0.1,
        num_classes=0,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
    )
    roberta = RobertaModel(
        RobertaConfig(
            vocab_size=language.vocab_size,
            hidden_size=language.width,
            num_hidden_layers=language.depth,
            num_attention_heads=language.heads,
            intermediate_size=language.mlp_width,
            max_position_embeddings=language.max_positions,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        add_pooling_layer=False,
    )
    pixels = torch.randn(16, 3, vision.image_size, vision.image_size)
    ids = torch.randint(4, language.vocab_size, (64, 32))
    mask = torch.arange(32) < torch.randint(8, 33, (64, 1))
    ids = ids.masked_fill(~mask, 1)
    cases: list[tuple[str, str, Run, nn.Module, Run, nn.Module]] = [
        (
            "vision",
            "timm BEiT",
            lambda: model.encode_image(pixels),
            model,
            lambda: beit.forward_features(pixels),
            beit,
        ),
        (
            "language",
            "transformers RoBERTa",
            lambda: model.encode_text(ids, mask),
            model,
            lambda: roberta(ids, attention_mask=mask.long()).last_hidden_state,
            roberta,
        ),
    ]
    lines = []
    for what, peer, ours, our_module, theirs, their_module in cases:
        step, peer_step = training(ours, our_module), training(theirs, their_module)
        lines.append(compare(f"{what}, forward and backward", peer, step, peer_step, rounds))
        lines.append(compare(f"{what}, inference", peer, inference(ours), inference(theirs), rounds))
    return lines


def layouts(model: XFM, rounds: int) -> Line:
    """240 rows of 48 pictures, five queries each, as a region batch asks them."""
    patches, width = 64, model.config.vision.width
    image = torch.randn(48, 1 + patches, width, requires_grad=True)
    index = (torch.arange(240) // 5).repeat(5)
    text, mask = torch.randn(1200, 16, width), torch.ones(1200, 16, dtype=torch.bool)

    def with_layout(layout: Layout) -> Callable[[], None]:
        def forward() -> Tensor:
            fusion.remember, packs = layout, fusion.leaves_padding_out
            fusion.leaves_padding_out = lambda mask, needed: False
            try:
                return model.fuse(text, mask, image, index)
            finally:
                fusion.remember, fusion.leaves_padding_out = remember, packs

        return training(forward, model)

    ours, theirs = with_layout(remember), with_layout(copied)
    return compare("fusion, forward and backward", "keys copied per query", ours, theirs, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="alternations that are counted")
    parser.add_argument("--width", type=int, default=192, help="width of all encoders, a multiple of 48")
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()
    prepare_process()
    torch.manual_seed(0)
    model = build(options.width)
    lines = [*encoders(model, options.rounds), layouts(model, options.rounds)]
    print(f"{'what':<32}{'peer':<24}{'ours s':>9}{'peer s':>9}{'ratio':>7}")
    for line in lines:
        print(
            f"{line.what:<32}{line.peer:<24}{line.ours_seconds:>9.4f}{line.peer_seconds:>9.4f}{line.ratio:>7.2f}"
        )
    if options.json:
        machine = {
            "processor": platform.processor(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        options.json.write_text(
            json.dumps({"machine": machine, "lines": [asdict(line) for line in lines]}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
