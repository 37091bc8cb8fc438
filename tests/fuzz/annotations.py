"""Readers of annotations: of corpora that are prepared, of benchmarks, of pictures that are evaluated."""

import json
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.corpora.miniature import coco, folder, objects365, openimages, visual_genome
from tests.fuzz.binaries import change_pickle
from tests.fuzz.changes import Change, change_json, change_json_lines, change_table, change_text
from tests.fuzz.target import Family, Target
from tests.official.corpora import CORPORA, write_coco
from xfm.config.corpora import CorpusName, PrepareConfig
from xfm.corpora.filtering import filter_record
from xfm.corpora.images import evaluated
from xfm.corpora.preparation import Preparation


def read_corpus(root: Path, corpus: CorpusName, source: str = "", **more: Any) -> int:
    """All records of a corpus, judged as before they are written; how many were left out."""
    from_, listings = root / source, root / ".listings"
    preparation = Preparation(corpus, from_, root / "to", PrepareConfig(workers=1), **more)
    preparation.check()
    reader = preparation.reader()
    left_out = 0
    preparation.mark(reader)
    for piece in reader.pieces(listings):
        for record in reader.records(piece, listings):
            left_out += bool(filter_record(record, preparation.config, reader.needs_text).reason)
    return left_out


def _corpus(
    name: str,
    make: Callable[[Path], object],
    file: str,
    change: Change,
    corpus: CorpusName,
    weight: float = 1.0,
) -> Target:
    read = partial(read_corpus, corpus=corpus)
    return Target(Family.ANNOTATIONS, name, make, file, change, read, weight)


def _official(name: str, file: str, change: Change, weight: float = 1.0) -> Target:
    write, read = CORPORA[name]
    title = f"{name}-{Path(file).stem}" if name in ("vqa", "refcoco") else name
    return Target(Family.ANNOTATIONS, f"benchmark-{title}", write, file, change, read, weight)


def _evaluated(root: Path, name: str) -> None:
    evaluated([str(root / name)])


def _write_evaluated(root: Path) -> None:
    write_coco(root)
    CORPORA["refcoco"][0](root)
    (root / "names.txt").write_text("coco:139\nflickr:77\n")
    (root / "list.json").write_text(json.dumps([{"image": "val2014/COCO_val2014_000000000139.jpg"}]))
    refs = pickle.loads((root / "refs(unc).p").read_bytes())
    assert any(one["split"] != "train" for one in refs)


_TRAIN = "annotations/{}_train2014.json"
_COCO = partial(coco, pictures=2)
_REFS, _BOXES = "refs(unc).p", "instances.json"
_VQA = (
    "v2_mscoco_train2014_annotations.json", "v2_OpenEnded_mscoco_val2014_questions.json",
    "answer_list.json",
)  # fmt: skip
TARGETS = (
    _corpus("coco-captions", _COCO, _TRAIN.format("captions"), change_json, CorpusName.COCO, 2),
    _corpus("coco-instances", _COCO, _TRAIN.format("instances"), change_json, CorpusName.COCO, 2),
    _corpus("objects365", objects365, "zhiyuan_objv2_train.json", change_json, CorpusName.OBJECTS365),
    *(_corpus(f"vg-{name}", partial(visual_genome, pictures=2), f"{name}.json", change_json,
        CorpusName.VG) for name in ("image_data", "region_descriptions", "objects", "attributes")),
    _corpus("openimages-boxes", openimages, "oidv6-train-annotations-bbox.csv", change_table,
        CorpusName.OPENIMAGES),
    _corpus("openimages-classes", openimages, "class-descriptions-boxable.csv", change_table,
        CorpusName.OPENIMAGES),
    _corpus("folder-json", folder, "b.json", change_json, CorpusName.FOLDER),
    _corpus("folder-txt", folder, "a/1.txt", change_text, CorpusName.FOLDER),
    _official("coco", "dataset_coco.json", change_json),
    _official("flickr30k", "dataset_flickr30k.json", change_json),
    *(_official("vqa", file, change_json) for file in _VQA),
    _official("nlvr2", "data/dev.json", change_json_lines),
    _official("winoground", "winoground/examples.jsonl", change_json_lines),
    _official("sugarcrepe", "sugarcrepe/swap_obj.json", change_json),
    _official("aro", "aro/visual_genome_attribution.json", change_json),
    _official("refcoco", _REFS, change_pickle, 3),
    _official("refcoco", _BOXES, change_json),
    *(Target(Family.ANNOTATIONS, f"evaluation-{name}", _write_evaluated, name, change, partial(_evaluated,
        name=name)) for name, change in (("dataset_coco.json", change_json), ("list.json", change_json),
        ("names.txt", change_text), (_REFS, change_pickle))),
)  # fmt: skip
