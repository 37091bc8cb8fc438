"""X-FM for sentence-transformers (`pip install 'xfm[sentence-transformers]'`).

`xfm export` writes folders that the library loads with these modules; or directly:

    as_sentence_transformer("small").encode(["a cat"])
    as_cross_encoder("small").predict([("a cat", picture)])

Inputs are read by the pipelines `embed` and `image-text-matching`, so that the numbers agree.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import tokenizers
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modality import infer_modality
from sentence_transformers.base.modules import InputModule
from torch import Tensor

from xfm.core.errors import UserError
from xfm.data.schema import Tokens
from xfm.inference.base import Pipeline
from xfm.inference.input_parsing import ImageReader, InputImage, Item, is_image_input
from xfm.inference.pipeline import pipeline
from xfm.models.artifacts import CARD, model_pixels
from xfm.models.folder import Pretrained, load_model
from xfm.models.resolve import find_model

_LONGEST = "model_max_length"
_PLACE = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
_TRAINED = "sentence-transformers"


class FolderModule(InputModule):
    """A sentence-transformers module on a model folder; `max_seq_length` is in tokens."""

    task: ClassVar[str]
    calibrated: ClassVar[bool] = False  # whether the loss is of calibrated scores
    save_in_root = True  # the folder that is written is a model folder, too

    def __init__(self, model: Pretrained | Path | str) -> None:
        super().__init__()
        pretrained = model if isinstance(model, Pretrained) else load_model(find_model(model))
        self.pipe: Pipeline = pipeline(self.task, pretrained)
        self.model = pretrained.model
        self.tokenizer = tokenizers.Tokenizer.from_str(pretrained.tokenizer.to_json())
        self.max_seq_length: int = self.pipe.engine.longest
        self.learned = False

    @property
    def modalities(self) -> list[Any]:
        """Kinds of input."""
        return ["text", "image"]

    @classmethod
    def load(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, model_name_or_path: str, **given: Any
    ) -> Self:
        """Read the folder, or the hub's repository; UserError: damaged, or an option that X-FM lacks."""
        wanted = {**(given.get("processor_kwargs") or {})}
        longest = wanted.pop(_LONGEST, None)
        wanted |= {**(given.get("model_kwargs") or {}), **(given.get("config_kwargs") or {})}
        if given.get("backend", "torch") != "torch":
            raise UserError(f"{model_name_or_path} runs with the backend torch alone; leave the backend out")
        if asked := [name for name, value in wanted.items() if value is not None]:
            raise UserError(f"{model_name_or_path}: X-FM does not take {asked[0]}; leave it out")
        where = {name: given[name] for name in _PLACE if name in given}
        place = cls.load_dir_path(model_name_or_path, **where)
        found = cls(load_model(place or model_name_or_path))
        if longest is not None:
            found.max_seq_length = int(longest)
        return found

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write a model folder's files beside the library's; UserError: pickled weights, or not writable."""
        if not safe_serialization:
            raise UserError("the weights of an X-FM model are saved as safetensors, never pickled")
        folder, own = Path(output_path), self.pipe.engine.pretrained
        if self.learned:
            provenance, kept = {**own.provenance, "trained_by": _TRAINED, "scores": None}, own.calibration
            own = replace(own, provenance=provenance, calibration=kept if self.calibrated else None)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            draft = Path(place) / "model"
            own.model.save_pretrained(draft, own.artifacts)
            for file in draft.iterdir():
                if file.name != CARD:  # the library writes its own
                    os.replace(file, folder / file.name)

    # ------------------------------------------------------------ inputs
    def _read(self, given: Sequence[Any], told: Mapping[str, Any]) -> list[Item]:
        if told.get("processing_kwargs"):  # which would be ignored
            raise UserError("X-FM prepares inputs as it was trained; leave processing_kwargs out")
        reader = ImageReader(self.pipe.engine.pretrained.preprocessing, None)
        return [self.pipe.read(one, reader) for one in given]

    def _texts(self, items: Sequence[Item]) -> dict[str, Tensor]:
        engine = self.pipe.engine
        longest = min(self.max_seq_length, engine.longest)
        tokens = engine.tokenizer.encode_batch([item.texts[0] for item in items], longest)
        return {"input_ids": tokens.ids, "attention_mask": tokens.mask.long()}

    def _pixels(self, pictures: Sequence[InputImage]) -> Tensor:
        stacked = torch.stack([picture.pixels for picture in pictures])
        return model_pixels(stacked, self.pipe.engine.pretrained.preprocessing)


class XFMVectors(FolderModule):
    """Unit vectors of texts and pictures: the one module of a `SentenceTransformer`."""

    task = "embed"

    def preprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, inputs: Sequence[Any], prompt: str | None = None, **told: Any
    ) -> dict[str, Any]:
        """Tokens of texts (behind `prompt`), or pixels of pictures; UserError: unusable, or both kinds in a
        batch."""
        items = self._read([by_name(one, prompt) for one in inputs], told)
        pictures = [picture for item in items for picture in item.pictures]
        if not pictures:
            return {**self._texts(items), "modality": "text"}
        if len(pictures) < len(items):
            raise UserError("one batch holds texts or pictures, not both; encode them in two calls")
        return {"pixel_values": self._pixels(pictures), "modality": "image"}

    def forward(self, features: dict[str, Any], **unused: Any) -> dict[str, Any]:
        """`sentence_embedding` [R, E] of what `preprocess` gave."""
        self.learned |= self.training and torch.is_grad_enabled()
        if (pixels := features.get("pixel_values")) is not None:
            pixels = pixels.to(self.model.vision_proj.weight.dtype)
            features["sentence_embedding"] = self.model.embed_image(pixels)
            return features
        mask = features["attention_mask"].bool()
        features["sentence_embedding"] = self.model.embed_text(features["input_ids"], mask)
        return features

    def get_embedding_dimension(self) -> int:
        """E."""
        return self.model.config.projection


class XFMMatches(FolderModule):
    """Log-odds that text and picture match: the one module of a `CrossEncoder`. The library's sigmoid makes
    them the calibrated probability, see `Pretrained.match_probability`."""

    task, calibrated = "image-text-matching", True

    def preprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, inputs: Sequence[Any], prompt: str | None = None, **told: Any
    ) -> dict[str, Any]:
        """Tokens, pixels of the distinct pictures, and each text's picture, from pairs in either order."""
        if inputs and all(isinstance(one, str) for one in inputs):  # the library's trainer counts tokens
            return self._texts([Item((self.pipe.as_read(one, 0),)) for one in inputs])
        items = self._read([_pair(one, prompt) for one in inputs], told)
        distinct = {item.pictures[0].key: item.pictures[0] for item in items}
        places = {key: place for place, key in enumerate(distinct)}
        index = torch.tensor([places[item.pictures[0].key] for item in items])
        pixels = self._pixels(list(distinct.values()))
        return {**self._texts(items), "pixel_values": pixels, "image_index": index, "modality": "pair"}

    def forward(self, features: dict[str, Any], **unused: Any) -> dict[str, Any]:
        """`scores` [R, 1] of what `preprocess` gave."""
        self.learned |= self.training and torch.is_grad_enabled()
        mask = features["attention_mask"].bool()
        (text,) = self.model.encode_texts([Tokens(features["input_ids"], mask)])
        pixels = features["pixel_values"].to(self.model.vision_proj.weight.dtype)
        image = self.model.encode_image(pixels)
        fused = self.model.fuse_first(text, mask, image, features["image_index"])
        odds = self.pipe.engine.pretrained.match_odds(self.model.match_logits(fused))
        features["scores"] = odds[:, None]
        return features


def by_name(given: Any, prompt: str | None = None) -> Mapping[str, Any]:
    """An input of the library as `{"text"}` or `{"image"}`; UserError: a sound, a film or a conversation."""
    if is_image_input(given):
        return {"image": given}
    found: dict[str, Any]
    if isinstance(given, Mapping) and {*given} <= {"text", "image"}:
        found = {**given}
    else:
        try:
            kind = infer_modality(given)
        except ValueError:
            kind = type(given).__name__
        if kind not in ("text", "image"):
            raise UserError(f"X-FM takes texts and pictures, not {kind}; leave it out")
        found = {kind: given}
    if prompt and isinstance(found.get("text"), str):
        found["text"] = prompt + found["text"]
    return found


def _pair(given: Any, prompt: str | None) -> Mapping[str, Any]:
    if not isinstance(given, list | tuple):
        raise UserError(f"a pair is a text and a picture, not {type(given).__name__}")
    found = [one for side in given for one in by_name(side, prompt).items()]
    if sorted(name for name, _ in found) != ["image", "text"]:
        held = " and ".join(name for name, _ in found) or "nothing"
        raise UserError(
            f"a pair is a text and a picture, not {held}; compare two of a kind by a SentenceTransformer"
        )
    return dict(found)


def as_sentence_transformer(model: Pretrained | Path | str, **told: Any) -> SentenceTransformer:
    """A model (loaded, folder or name) as a SentenceTransformer; `told` are its options, such as `device`."""
    return SentenceTransformer(modules=[XFMVectors(model)], similarity_fn_name="cosine", **told)


def as_cross_encoder(model: Pretrained | Path | str, **told: Any) -> CrossEncoder:
    """A model (loaded, folder or name) as a CrossEncoder of matching probabilities; `told` as above."""
    return CrossEncoder(modules=[XFMMatches(model)], **told)
