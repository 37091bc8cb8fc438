"""Every benchmark: where its official files belong, how they are read, and how predictions are scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from xfm.config import tasks
from xfm.config.benchmark import Edition, benchmark_recipes
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks import scorers
from xfm.evaluation.benchmarks.published import Protocol
from xfm.evaluation.benchmarks.read import image_text
from xfm.evaluation.benchmarks.read.composition import SUGARCREPE, read_aro, read_sugarcrepe, read_winoground
from xfm.evaluation.benchmarks.read.glue import GlueTask, read_glue
from xfm.evaluation.benchmarks.read.image_sets import IMAGE_SETS, read_image_set
from xfm.evaluation.benchmarks.read.imagenet import read_imagenet, synset_names
from xfm.evaluation.benchmarks.read.readers import Corpus
from xfm.evaluation.benchmarks.read.vqa import read_easy_vqa, read_vqa
from xfm.tasks.base import Scorer
from xfm.tasks.grounding import box_metrics

IMAGENET = "imagenet"
Submit = Callable[[Sequence[Any], Sequence[Any]], str]
"""Rows and predictions -> what a file for the benchmark's server holds."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, fine-tuned as a task of this `kind`. Its `marker` below the data folder shows that it is
    there, `layout` says which files belong where. `score` gives metrics of predictions (None for retrieval,
    which is ranked), of the splits together, too, where it is `averaged`. `submit` gives the content of the
    file for the benchmark's server, named `submission` with {} for the split, and if it `submits_all` also
    for splits with answers, because the official scorer reads that format. `templates` are prompts of
    zero-shot classification, `names` class names for them from the data folder (None where the file is
    missing); `score_guesses` metrics of random guesses, where `score` is too slow for them; `published` reads
    rows as X-FM's code splits them, where these differ from `read`. The rows of `composed` ones are cases of
    composition, scored without training."""

    name: str
    kind: str
    marker: str
    layout: str
    read: Callable[[Path], Corpus[Any]]
    score: Scorer | None = None
    protocols: tuple[Protocol, ...] = (Protocol.FINE_TUNED,)
    averaged: bool = False
    submit: Submit | None = None
    submission: str = ""
    submits_all: bool = False
    templates: str = "general"
    names: Callable[[Path], Mapping[str, str] | None] = lambda data: {}
    score_guesses: Scorer | None = None
    published: Callable[[Path], Corpus[Any]] | None = None
    composed: bool = False

    def editions(self, protocol: Protocol) -> tuple[Edition, ...]:
        """Editions of a protocol; X-FM's code ranks without training, but has no prompts or composition."""
        if protocol is Protocol.ZERO_SHOT:
            ranked = self.score is None and not self.composed
            return (Edition.PUBLISHED,) if ranked else (Edition.RECOMMENDED,)
        has = recipe_of(self.name, protocol) in benchmark_recipes(Edition.PUBLISHED)
        return (Edition.PUBLISHED, Edition.RECOMMENDED) if has else (Edition.RECOMMENDED,)

    def is_there(self, data: Path) -> bool:
        """Whether the data folder holds its files."""
        return (data / self.marker).exists()


def recipe_of(name: str, protocol: Protocol) -> str:
    """Name of the recipe of a benchmark."""
    return f"{name}-linear" if protocol is Protocol.LINEAR else name


def _image_set(kind: str) -> Benchmark:
    own = IMAGE_SETS[kind]
    mean = "; the mean over the classes is reported" if own.per_class else ""
    return Benchmark(
        name=kind,
        kind=tasks.IMAGE_CLASSIFICATION.name,
        protocols=(Protocol.LINEAR, Protocol.ZERO_SHOT) if own.templates else (Protocol.LINEAR,),
        marker=own.place,
        layout=f"{own.place}/ as torchvision lays it out{mean}",
        read=lambda data: read_image_set(data, kind),
        published=lambda data: read_image_set(data, kind, Edition.PUBLISHED),
        score=scorers.score_classes,
        templates=own.templates or "",
    )


_IMAGENET = Benchmark(
    name=IMAGENET,
    kind=tasks.IMAGE_CLASSIFICATION.name,
    protocols=(Protocol.FINE_TUNED, Protocol.LINEAR, Protocol.ZERO_SHOT),
    marker="imagenet",
    layout="imagenet/train/ and imagenet/val/ of class folders, for zero-shot LOC_synset_mapping.txt; or "
    "imagenet/data/*.parquet of the hub",
    read=lambda data: read_imagenet(data / "imagenet"),
    score=scorers.score_classes,
    names=lambda data: synset_names(data / "imagenet"),
)


# ---------------------------------------------------------------- text
def _glue(task: GlueTask) -> Benchmark:
    more = ""
    if task is GlueTask.MNLI:
        more = ", and for the server the diagnostic set glue/ax/test-*.parquet"
    return Benchmark(
        name=task.value,
        kind=tasks.TEXT_CLASSIFICATION.name,
        marker=f"glue/{task.value}",
        layout=f"glue/{task.value}/ with the *.parquet of the hub's nyu-mll/glue{more}",
        read=lambda data: read_glue(data / "glue", task),
        score=partial(scorers.score_glue, task),
        averaged=task is GlueTask.MNLI,
        submit=lambda rows, predictions: scorers.glue_submission(task, predictions),
        submission="{}.tsv",
    )


# ---------------------------------------------------------------- pictures with texts
def _grounding(name: str, split_by: Sequence[str]) -> Benchmark:
    files = " or ".join(f"refs({who}).p" for who in split_by)
    return Benchmark(
        name=name,
        kind=tasks.GROUNDING.name,
        marker=f"refer/{name}",
        layout=f"refer/{name}/ with {files} and instances.json; coco/train2014/",
        read=lambda data: image_text.read_refcoco(
            data / "refer" / name, image_text.coco_images(data / "coco") / "train2014", split_by
        ),
        score=box_metrics,
    )


def _read_vqa(data: Path, minival: bool = True) -> Corpus[Any]:
    genome = data / "vg"
    there = genome if (genome / "question_answers.json").is_file() else None
    return read_vqa(data / "vqa", image_text.coco_images(data / "coco"), there, minival)


def _retrieval(name: str, layout: str, read: Callable[[Path], Corpus[Any]]) -> Benchmark:
    marker, protocols = f"{name}/dataset_{name}.json", (Protocol.FINE_TUNED, Protocol.ZERO_SHOT)
    return Benchmark(
        name, tasks.RETRIEVAL.name, marker, layout, lambda data: read(data / name), protocols=protocols
    )


_COCO = "coco/dataset_coco.json, coco/train2014/, coco/val2014/"

_WITH_TEXTS = [
    Benchmark(
        "vqa",
        tasks.VQA.name,
        "vqa/v2_OpenEnded_mscoco_train2014_questions.json",
        "vqa/ with v2_OpenEnded_mscoco_{train2014,val2014,test-dev2015,test2015}_questions.json, "
        "v2_mscoco_{train2014,val2014}_annotations.json; coco/train2014/, coco/val2014/, coco/test2015/; by "
        "choice vqa/answer_list.json of X-VLM's data (not of VQA's; it is built if it is missing) and "
        "vg/question_answers.json, vg/VG_100K/, vg/VG_100K_2/",
        _read_vqa,
        scorers.score_answers,
        submit=scorers.vqa_submission,
        submission="vqa_{}.json",
        submits_all=True,
        published=lambda data: _read_vqa(data, minival=False),
    ),
    Benchmark(
        "easy-vqa",
        tasks.VQA.name,
        "easy-vqa",
        "easy-vqa/{train,test}/ with questions.json and images/: the folder data of the package easy-vqa",
        lambda data: read_easy_vqa(data / "easy-vqa"),
        scorers.score_single_answers,
    ),
    Benchmark(
        "nlvr2",
        tasks.REASONING.name,
        "nlvr2",
        "nlvr2/data/{train,dev,test1}.json; train/, dev/, test1/ of pictures below nlvr2/images/ or nlvr2/",
        lambda data: image_text.read_nlvr2(data / "nlvr2"),
        scorers.score_truth,
        submit=scorers.nlvr2_submission,
        submission="nlvr2_{}.csv",
        submits_all=True,
    ),
    _grounding("refcoco", ("unc", "google")),
    _grounding("refcoco+", ("unc",)),
    _grounding("refcocog", ("umd", "google")),
    _retrieval(
        "flickr30k",
        "flickr30k/dataset_flickr30k.json, flickr30k/flickr30k-images/",
        image_text.read_flickr30k,
    ),
    _retrieval("coco", _COCO, image_text.read_coco),
    Benchmark(
        "coco-captions",
        tasks.CAPTIONING.name,
        "coco/dataset_coco.json",
        _COCO,
        lambda data: image_text.read_coco(data / "coco"),
        scorers.score_captions,
        score_guesses=partial(scorers.score_captions, briefly=True),
        submit=scorers.caption_submission,
        submission="captions_{}_results.json",
        submits_all=True,
    ),
]

_COMPOSED = [
    Benchmark(name, tasks.RETRIEVAL.name, name, layout, read, protocols=(Protocol.ZERO_SHOT,), composed=True)
    for name, layout, read in (
        ("winoground", "winoground/ with examples.jsonl and images/", read_winoground),
        ("sugarcrepe", f"sugarcrepe/ with {{{','.join(SUGARCREPE)}}}.json; coco/val2017/", read_sugarcrepe),
        ("aro", "aro/ with visual_genome_{relation,attribution}.json and images/", read_aro),
    )
]

BENCHMARKS: dict[str, Benchmark] = {
    one.name: one
    for one in (*map(_glue, GlueTask), _IMAGENET, *map(_image_set, IMAGE_SETS), *_WITH_TEXTS, *_COMPOSED)
}

GROUPS: dict[str, tuple[str, ...]] = {"glue": tuple(task.value for task in GlueTask)}
"""Benchmarks that one name stands for."""


def known_names(names: Sequence[str]) -> list[str]:
    """Names of benchmarks, groups resolved; UserError for an unknown one."""
    found = [one for name in names for one in GROUPS.get(name, (name,))]
    if unknown := [name for name in found if name not in BENCHMARKS]:
        raise UserError(f"unknown benchmark {unknown[0]}; known: {', '.join((*GROUPS, *BENCHMARKS))}")
    return list(dict.fromkeys(found))


def names_with_files(names: Sequence[str], data: Path) -> list[str]:
    """Names of benchmarks whose files are there, groups resolved; UserError where a name has none."""
    found: list[str] = []
    for name, group in [(name, known_names([name])) for name in names]:
        there = [one for one in group if BENCHMARKS[one].is_there(data)]
        if not there:
            raise UserError(
                f"{name}: its files are not below {data}; put there {BENCHMARKS[group[0]].layout}"
            )
        found += there
    return list(dict.fromkeys(found))
