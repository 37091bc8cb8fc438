"""Tokenizer, image processor and processor for transformers, on the files of a model folder."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor
from transformers.tokenization_utils_base import LARGE_INTEGER

from xfm.config.model import ModelConfig
from xfm.config.typed import from_plain
from xfm.data.images import DecodedImage, to_uint8
from xfm.data.tokenizer import Tokenizer
from xfm.models.artifacts import framed, model_pixels
from xfm.models.interop.sources import read_settings
from xfm.models.interop.transformers.model import OF_THE_HUB, find, read_task
from xfm.models.model_files import CONFIG, PREPROCESSING, own_fields, own_preprocessing, preprocessor_config


class XFMTokenizer(PreTrainedTokenizerFast):
    """Tokenizer of a model folder. Texts are cut to `model_max_length` unless `truncation=False`:
    transformers' pipelines do not pass `truncation=True`."""

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any
    ) -> Self:
        """transformers' method; a UserError for a harmful tokenizer, or one without a special token."""
        if (file := Path(pretrained_model_name_or_path) / "tokenizer.json").is_file():
            Tokenizer.load(file)  # refuses what would harm, before transformers builds it
        tokenizer = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        backend = copy.deepcopy(tokenizer.backend_tokenizer)
        own = Tokenizer(backend, f"{pretrained_model_name_or_path}/tokenizer.json")
        ids = {"cls": own.bos, "sep": own.eos, "bos": own.bos, "eos": own.eos, "unk": own.unk}
        for role, index in (ids | {"pad": own.pad, "mask": own.mask}).items():
            if index is not None and getattr(tokenizer, f"{role}_token") is None:
                setattr(tokenizer, f"{role}_token", own.id_to_token(index))
        place = {key: kwargs[key] for key in OF_THE_HUB if kwargs.get(key) is not None}
        if (path := find(pretrained_model_name_or_path, CONFIG, place)) is not None:
            config = from_plain(ModelConfig, own_fields(read_settings(path), path), path)
            task = read_task(pretrained_model_name_or_path, place)
            limits = (tokenizer.model_max_length, config.language.longest, task.max_tokens if task else 0)
            tokenizer.model_max_length = min(filter(None, limits))
        return tokenizer

    def __call__(self, *args: Any, truncation: Any = None, **kwargs: Any) -> Any:
        """transformers' method, but texts are cut unless `truncation` says otherwise."""
        known = self.model_max_length < LARGE_INTEGER or kwargs.get("max_length") is not None
        return super().__call__(*args, truncation=known if truncation is None else truncation, **kwargs)


class XFMImageProcessor(BaseImageProcessor):
    """Images to pixels, exactly as everywhere in this package; takes the fields of `Preprocessing`."""

    model_input_names: ClassVar[list[str]] = ["pixel_values"]

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.preprocessing = own_preprocessing(values, Path(PREPROCESSING))

    @property
    def size(self) -> dict[str, int]:
        """Height and width of the pixels."""
        height, width = self.preprocessing.shape
        return {"height": height, "width": width}

    def preprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, images: DecodedImage | Sequence[DecodedImage], return_tensors: str | None = "pt", **unused: Any
    ) -> BatchFeature:
        """`pixel_values` [B, 3, H, W] float32 of PIL images, uint8 arrays [H, W, 3] or uint8 tensors [3,
        H, W]."""
        if isinstance(images, Image.Image) or (isinstance(images, np.ndarray | Tensor) and images.ndim < 4):
            images = [images]
        shown = torch.stack([framed(to_uint8(picture), self.preprocessing) for picture in images])
        pixels = model_pixels(shown, self.preprocessing)
        return BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        """Content of `preprocessor_config.json`."""
        return preprocessor_config(self.preprocessing)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.preprocessing})"


class XFMProcessor(ProcessorMixin):
    """Tokenizer and image processor in one. Captions are not normalised: pre-training used
    `xfm.data.tokenizer.normalise_caption`."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None) -> None:
        super().__init__(image_processor, tokenizer)

    def to_dict(self) -> dict[str, Any]:
        """Content of `processor_config.json`."""
        return {"processor_class": type(self).__name__}

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Write the files of both parts."""
        written = self.image_processor.save_pretrained(save_directory)
        return [*written, *super().save_pretrained(save_directory, push_to_hub, **kwargs)]
