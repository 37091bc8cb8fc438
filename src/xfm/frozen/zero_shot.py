"""Classification without training: a picture gets the class whose prompts are nearest."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.frozen.features import blocks
from xfm.frozen.prompt_templates import prompt
from xfm.modeling.features import Encoder, tokenize_captions
from xfm.modeling.precision import autocast


def prompts(name: str, templates: Sequence[str]) -> list[str]:
    """The prompts of a class; underscores of its name are spaces."""
    return [prompt(template, name.replace("_", " ")) for template in templates]


@torch.inference_mode()
def class_vectors(encoder: Encoder, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """The mean of the unit vectors of each class's prompts, scaled to length 1.

    Args:
        encoder: the model.
        names: C class names.
        templates: at least one.

    Returns:
        [C, E] float32, on the CPU.
    """
    model, found = encoder.model, []
    at_once = max(1, encoder.batch_size // len(templates))
    with autocast(encoder.precision, encoder.device):
        for part in encoder.chunks(len(names), at_once, "classes"):
            texts = [text for name in names[part] for text in prompts(name, templates)]
            tokens = tokenize_captions(encoder.tokenizer, texts)
            first = model.encode_first(tokens.ids.to(encoder.device), tokens.mask.to(encoder.device))
            with encoder.heads():
                vectors = model.project_text(first.float())  # [c T, E]
            found.append(F.normalize(vectors.unflatten(0, (-1, len(templates))).mean(1), dim=-1).cpu())
    return torch.cat(found)


@torch.inference_mode()
def zero_shot_logits(encoder: Encoder, features: np.ndarray, classes: Tensor) -> Tensor:
    """Cosines over the temperature.

    Args:
        encoder: the model.
        features: [N, Dv] slot 0 of pictures, such as `cached_features` gives.
        classes: [C, E] from `class_vectors`.

    Returns:
        [N, C] float32, on the CPU.
    """
    found = []
    for rows in blocks(len(features)):
        block = torch.from_numpy(np.array(features[rows], dtype=np.float32))
        with encoder.heads():
            vectors = encoder.model.project_image(block.to(encoder.device)).cpu()
        found.append(vectors @ classes.T / encoder.model.temperature.item())
    return torch.cat(found)
