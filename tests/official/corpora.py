"""Miniatures of the corpora with pictures, in the official layout, with random pictures."""

import pickle
import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tests.official.easy_vqa import write_easy_vqa
from tests.official.glue import write_diagnostic, write_glue, write_parquet
from tests.official.image_sets import WRITERS
from tests.official.pictures import picture, sentence, write_json, write_lines
from xfm.evaluation.benchmarks.read import composition
from xfm.evaluation.benchmarks.read.glue import GlueTask
from xfm.evaluation.benchmarks.read.image_text import read_coco, read_flickr30k, read_nlvr2, read_refcoco
from xfm.evaluation.benchmarks.read.imagenet import read_imagenet
from xfm.evaluation.benchmarks.read.readers import Corpus
from xfm.evaluation.benchmarks.read.vqa import read_vqa

SIZE = (40, 30)


def coco_picture(coco: Path, year: str, number: int) -> Path:
    path = coco / year / f"COCO_{year}_{number:012d}.jpg"
    return path if path.exists() else picture(path, number, SIZE)


def write_coco(folder: Path) -> None:
    """`dataset_coco.json` beside `train2014/` and `val2014/`; the last picture has six captions."""
    splits = ["train"] * 6 + ["restval"] * 2 + ["val"] * 4 + ["test"] * 4
    rows = []
    for number, split in enumerate(splits, start=1):
        year = "train2014" if split == "train" else "val2014"
        image = coco_picture(folder, year, number)
        captions = 6 if number == len(splits) else 5
        rows.append(_karpathy(number, split, image.name, captions) | {"filepath": year, "cocoid": number})
    write_json(folder / "dataset_coco.json", {"images": rows, "dataset": "coco"})


def write_flickr30k(folder: Path) -> None:
    """`dataset_flickr30k.json` beside `flickr30k-images/`."""
    splits = ["train"] * 6 + ["val"] * 3 + ["test"] * 4
    rows = []
    for number, split in enumerate(splits):
        image = picture(folder / "flickr30k-images" / f"{1000 + number}.jpg", number, SIZE)
        rows.append(_karpathy(number, split, image.name, 5))
    write_json(folder / "dataset_flickr30k.json", {"images": rows, "dataset": "flickr30k"})


def _karpathy(number: int, split: str, filename: str, captions: int) -> dict[str, Any]:
    rng = random.Random(number)
    texts = [sentence(rng, 7).capitalize() + "." for _ in range(captions)]
    return {
        "imgid": number,
        "sentids": [number * 10 + place for place in range(captions)],
        "split": split,
        "filename": filename,
        "sentences": [
            {"tokens": t.lower().strip(".").split(), "raw": t, "imgid": number, "sentid": number * 10 + place}
            for place, t in enumerate(texts)
        ],
    }


def write_vqa(folder: Path, coco: Path, genome: Path | None = None) -> None:
    """Questions and annotations of both years, the test questions, the answer list, and Visual Genome's."""
    answers = ["yes", "no", "2", "red", "blue"]
    rng = random.Random(0)
    for year, first, count in (("train2014", 1, 8), ("val2014", 9, 6)):
        questions, annotations = [], []
        for number in range(first, first + count):
            coco_picture(coco, year, number)
            common = answers[number % len(answers)]
            given = [common] * 7 + [rng.choice(answers) for _ in range(3)]
            kind = "yes/no" if common in ("yes", "no") else "number" if common == "2" else "other"
            ids = {"image_id": number, "question_id": number * 1000}
            questions.append(ids | {"question": f"is the {sentence(rng, 2)}?"})
            annotations.append(
                ids
                | {"question_type": "is the", "multiple_choice_answer": common, "answer_type": kind}
                | {"answers": [{"answer": a, "answer_id": place} for place, a in enumerate(given, start=1)]}
            )
        write_json(folder / f"v2_OpenEnded_mscoco_{year}_questions.json", {"questions": questions})
        write_json(folder / f"v2_mscoco_{year}_annotations.json", {"annotations": annotations})
    for name in ("test-dev2015", "test2015"):
        rows = []
        for number in range(1, 4):
            picture(coco / "test2015" / f"COCO_test2015_{number:012d}.jpg", number, SIZE)
            ids = {"image_id": number, "question_id": number * 1000 + 1}
            rows.append(ids | {"question": "what colour is it?"})
        write_json(folder / f"v2_OpenEnded_mscoco_{name}_questions.json", {"questions": rows})
    write_json(folder / "answer_list.json", answers)
    if genome:
        write_genome(genome)


def write_genome(folder: Path) -> None:
    """`question_answers.json` beside the two folders of pictures."""
    rows = []
    for number in range(1, 5):
        picture(folder / ("VG_100K" if number % 2 else "VG_100K_2") / f"{number}.jpg", number, SIZE)
        pair = {"image_id": number, "qa_id": 7000 + number, "question": "What is red?", "answer": "The car."}
        rows.append({"id": number, "qas": [pair, pair | {"qa_id": 8000 + number, "answer": " "}]})
    write_json(folder / "question_answers.json", rows)


def write_nlvr2(folder: Path, beside: tuple[str, ...] = ()) -> None:
    """`data/*.json` (JSON lines), and `images/` for the splits that are not `beside` it.

    Training pictures lie in numbered folders.
    """
    for file, images, count in (("train", "train", 8), ("dev", "dev", 4), ("test1", "test1", 4)):
        rows = []
        for number in range(count):
            stem = f"{file}-{number // 2}-{number % 2}"
            directory = {"directory": number % 3} if file == "train" else {}
            place = folder / ("" if images in beside else "images") / images
            place /= str(directory.get("directory", ""))
            for side in (0, 1):
                picture(place / f"{stem}-img{side}.png", number * 2 + side, SIZE)
            truth = "True" if number % 3 else "False"
            rows.append({"identifier": f"{stem}-0", "sentence": "Two dogs.", "label": truth, **directory})
        write_lines(folder / "data" / f"{file}.json", rows)


def write_refcoco(folder: Path, coco: Path, split_by: str = "unc", protocol: int = 2) -> Path:
    """`refs(unc).p` and `instances.json`; the last box sticks out by rounding."""
    splits = (
        ["train"] * 6 + ["val"] * 3 + (["testA"] * 3 + ["testB"] * 3 if split_by == "unc" else ["test"] * 3)
    )
    images, annotations, refs = [], [], []
    for number, split in enumerate(splits, start=1):
        image = coco_picture(coco, "train2014", number)
        images.append({"id": number, "file_name": image.name, "width": SIZE[0], "height": SIZE[1]})
        box = [number * 1.5, 2.25, 10.5, 20.0] if number < len(splits) else [30.0, 9.6, 10.4, 20.4]
        annotations.append({"id": 500 + number, "image_id": number, "bbox": box, "category_id": 1})
        sentences = [
            {"sent": s, "raw": s.upper(), "sent_id": number * 10 + place, "tokens": s.split()}
            for place, s in enumerate(("left dog", "the red dog"))
        ]
        refs.append(
            {"ref_id": number, "ann_id": 500 + number, "image_id": number, "category_id": 1, "split": split}
            | {"file_name": f"COCO_train2014_{number:012d}_{number}.jpg", "sentences": sentences}
            | {"sent_ids": [s["sent_id"] for s in sentences]}
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol))
    write_json(folder / "instances.json", {"images": images, "annotations": annotations, "categories": []})
    return folder


def write_imagenet(folder: Path) -> None:
    """`train/` and `val/` of class folders, and the names of the classes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = "n01440764 tench, Tinca tinca\nn01443537 goldfish\nn01484850 great white shark, white shark\n"
    (folder / "LOC_synset_mapping.txt").write_text(names)
    for split, count in (("train", 4), ("val", 2)):
        for place, name in enumerate(("n01440764", "n01443537", "n01484850")):
            for number in range(count):
                picture(folder / split / name / f"{name}_{number}.JPEG", place * 10 + number, SIZE)


def write_imagenet_parquet(folder: Path) -> None:
    """The hub's layout: two files of training pictures."""
    names = ("tench", "goldfish")
    for split, files in (("train", 2), ("validation", 1)):
        for file in range(files):
            paths = [picture(folder / "raw" / f"{split}{file}{n}.jpg", n, SIZE) for n in range(4)]
            images = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
            target = folder / "data" / f"{split}-{file:05d}-of-{files:05d}.parquet"
            write_parquet(target, {"image": images, "label": [0, 1, 0, 1]}, {"label": names})


def write_composition(data: Path, cases: Sequence[tuple[Path, str, str]] = ()) -> None:
    """Winoground, SugarCrepe and ARO below a data folder, of PNG files, their captions and false captions.

    Winoground has two of them in a case; ARO the first half for relations, in a frame beside the box.
    """
    pictures = (picture(data / "cases" / f"{number}.png", number, SIZE) for number in range(14))
    cases = cases or [(path, f"a dog near {path.stem}", f"a cat near {path.stem}") for path in pictures]
    for folder in ("winoground/images", "coco/val2017", "aro/images"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    twos, sugar = list[dict[str, Any]](), {name: dict[str, Any]() for name in composition.SUGARCREPE}
    aro: dict[str, list[dict[str, Any]]] = {"relation": [], "attribution": []}
    for number, (shown, caption, false) in enumerate(cases):
        case, side = divmod(number, 2)
        if not side:
            twos.append({"id": case, "collapsed_tag": ("Object", "Relation", "Both")[case % 3]})
        twos[-1] |= {f"image_{side}": f"ex_{case}_img_{side}", f"caption_{side}": caption}
        shutil.copy(shown, data / f"winoground/images/ex_{case}_img_{side}.png")
        shutil.copy(shown, data / f"coco/val2017/{number}.png")
        two = {"caption": caption, "negative_caption": false}
        sugar[composition.SUGARCREPE[number % 7]][str(number)] = {"filename": f"{number}.png", **two}
        part = Image.open(shown)
        ImageOps.expand(part, 6, "red").save(data / f"aro/images/{number}.png")
        box = {"bbox_x": 6, "bbox_y": 6, "bbox_w": part.width, "bbox_h": part.height}
        kind = {"relation_name": f"kind {number % 3}", "attributes": ["a", "b"]}
        told = {"image_path": f"{number}.png", "true_caption": caption, "false_caption": false}
        aro["attribution" if 2 * number >= len(cases) else "relation"].append(told | box | kind)
    write_lines(data / "winoground" / "examples.jsonl", twos)
    for name, content in sugar.items():
        write_json(data / f"sugarcrepe/{name}.json", content)
    for name, rows in aro.items():
        write_json(data / f"aro/visual_genome_{name}.json", rows)


CORPORA: dict[str, tuple[Callable[[Path], object], Callable[[Path], Corpus[Any]]]] = {
    "coco": (write_coco, read_coco),
    "flickr30k": (write_flickr30k, read_flickr30k),
    "vqa": (
        lambda root: write_vqa(root, root / "coco", root / "vg"),
        lambda root: read_vqa(root, root / "coco", root / "vg"),
    ),
    "nlvr2": (write_nlvr2, read_nlvr2),
    "refcoco": (
        lambda root: write_refcoco(root, root / "coco"),
        lambda root: read_refcoco(root, root / "coco" / "train2014", ("unc",)),
    ),
    "imagenet": (write_imagenet, read_imagenet),
    "winoground": (write_composition, composition.read_winoground),
    "sugarcrepe": (write_composition, composition.read_sugarcrepe),
    "aro": (write_composition, composition.read_aro),
}
"""How every corpus is written in miniature, and read."""


def written(name: str, root: Path) -> Callable[[], Corpus[Any]]:
    """Writes a corpus; gives what reads it."""
    write, read = CORPORA[name]
    write(root)
    return partial(read, root)


def write_data_folder(data: Path) -> Path:
    """A data folder with every benchmark, and one data set of linear evaluation."""
    for task in GlueTask:
        write_glue(data / "glue", task)
    write_diagnostic(data / "glue")
    coco = data / "coco"
    write_coco(coco)
    write_flickr30k(data / "flickr30k")
    write_vqa(data / "vqa", coco, data / "vg")
    for split in ("train", "test"):
        rows = [[f"is {place} red?", ("yes", "red", "circle")[place % 3], place % 3] for place in range(9)]
        write_easy_vqa(data / "easy-vqa", split, [(place * 80, 0, 0) for place in range(3)], rows)
    write_nlvr2(data / "nlvr2")
    for name, who in (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")):
        write_refcoco(data / "refer" / name, coco, who)
    write_imagenet(data / "imagenet")
    write_composition(data)
    WRITERS["oxford-pets"](data)
    return data
