"""The benchmarks of image classification."""

from xfm.config.benchmark import Edition
from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.reproduce.benchmark import Benchmark, at
from xfm.reproduce.published import Protocol
from xfm.reproduce.read.image_sets import PER_CLASS, ImageSet, place_of, read_image_set
from xfm.reproduce.read.imagenet import read_imagenet, synset_names
from xfm.reproduce.score.rules import score_classes

IMAGENET = "imagenet"
_TEMPLATES = {
    ImageSet.FOOD101: "food",
    ImageSet.CARS: "vehicles",
    ImageSet.AIRCRAFT: "aircraft",
    ImageSet.DTD: "textures",
    ImageSet.PETS: "pets",
    ImageSet.FLOWERS: "plants",
    ImageSet.MNIST: "digits",
    ImageSet.SUN397: "scenes",
    ImageSet.FER2013: "faces",
}
_WITHOUT_NAMES = frozenset({ImageSet.COUNTRY211, ImageSet.GTSRB})
"""Their classes are codes and numbers, which no prompt can name."""


def _image_set(kind: ImageSet) -> Benchmark:
    named = kind not in _WITHOUT_NAMES
    mean = "; the mean over the classes is reported" if kind in PER_CLASS else ""
    return Benchmark(
        name=kind.value,
        kind=IMAGE_CLASSIFICATION.name,
        protocols=(Protocol.LINEAR, Protocol.ZERO_SHOT) if named else (Protocol.LINEAR,),
        marker=at(place_of(kind)),
        layout=f"{place_of(kind)}/ as torchvision lays it out{mean}",
        read=lambda data: read_image_set(data, kind),
        published=lambda data: read_image_set(data, kind, Edition.PUBLISHED),
        score=score_classes,
        templates=_TEMPLATES.get(kind, "general"),
    )


_IMAGENET = Benchmark(
    name=IMAGENET,
    kind=IMAGE_CLASSIFICATION.name,
    protocols=(Protocol.FINE_TUNED, Protocol.LINEAR, Protocol.ZERO_SHOT),
    marker=at("imagenet"),
    layout="imagenet/train/ and imagenet/val/ of class folders, for zero-shot LOC_synset_mapping.txt; or "
    "imagenet/data/*.parquet of the hub",
    read=lambda data: read_imagenet(data / "imagenet"),
    score=score_classes,
    names=lambda data: synset_names(data / "imagenet"),
)

IMAGE_BENCHMARKS = [_IMAGENET, *(_image_set(kind) for kind in ImageSet)]
