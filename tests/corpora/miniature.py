"""Published corpora in miniature: a few pictures and annotations as they are downloaded."""

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.conftest import write_tar as write_members
from tests.data.picture_kinds import saved

SIZE = (64, 48)


def jpeg(seed: int, size: tuple[int, int] = SIZE, quality: int = 90) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return saved(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), "JPEG", quality=quality)


def write(path: Path, content: bytes | str | Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    return path


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_members(path, dict(members))


def coco(root: Path, pictures: int = 5, split: str = "train2014") -> Path:
    """COCO: captions and instances, of which one is a crowd, one lies outside and one sticks out."""
    images, captions, boxes = [], [], []
    for number in range(1, pictures + 1):
        name = f"COCO_{split}_{number:012d}.jpg"
        write(root / split / name, jpeg(number))
        address = f"http://farm3.staticflickr.com/2253/{1755223460 + number}_fabbeb8dc3_z.jpg"
        images.append({"id": number, "file_name": name, "width": 64, "height": 48, "flickr_url": address})
        captions += [
            {"id": 10 * number + place, "image_id": number, "caption": f"picture {number}\nsaid {place}"}
            for place in range(2)
        ]
        boxes.append(_instance(number, 1, [4.5, 5, 20.25, 30]))
    boxes += [
        _instance(1, 2, [60, 40, 20, 20]),
        _instance(1, 2, [70, 5, 9, 9]),
        _instance(2, 2, [0, 0, 0, 5]),
    ]
    boxes += [{**_instance(2, 1, [0, 0, 9, 9]), "iscrowd": 1}, _instance(2, 9, [0, 0, 9, 9])]
    classes = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dining table"}]
    info = {"info": {"year": 2014, "list": [1, [2, {"a": "]"}]]}, "licenses": [{"id": 1}]}
    write(root / "annotations" / f"captions_{split}.json", info | {"images": images, "annotations": captions})
    instances = info | {"annotations": boxes, "images": images, "categories": classes}
    write(root / "annotations" / f"instances_{split}.json", instances)
    return root


def _instance(image: int, label: int, box: list[float]) -> dict[str, Any]:
    return {
        "id": 7,
        "image_id": image,
        "category_id": label,
        "bbox": box,
        "iscrowd": 0,
        "segmentation": [[1, 2]],
    }


def visual_genome(root: Path, pictures: int = 4) -> Path:
    """Visual Genome: regions beyond the picture, objects of which some have attributes; two folders."""
    data, regions, objects, attributes = [], [], [], []
    for number in range(1, pictures + 1):
        folder = "VG_100K" if number % 2 else "VG_100K_2"
        write(root / folder / f"{number}.jpg", jpeg(100 + number))
        data.append(
            {
                "image_id": number,
                "url": f"https://cs.stanford.edu/people/rak248/{folder}/{number}.jpg",
                "width": 64,
                "height": 48,
                "coco_id": 500 + number if number % 2 else None,
                "flickr_id": 9000 + number,
            }
        )
        said = [
            _region(number, "a large part of it", 0, 0, 60, 40),
            _region(number, "the clock", 50, 5, 30, 20),
            _region(number, "beyond the edge", 90, 5, 30, 20),
            _region(number, " ", 1, 1, 9, 9),
        ]
        regions.append({"id": number, "regions": said if number > 1 else said[1:]})
        things = [{"object_id": 1, "x": 5, "y": 6, "w": 20, "h": 30, "names": ["clock"], "synsets": []}]
        things.append({"object_id": 2, "x": -3, "y": 6, "w": 20, "h": 30, "names": ["wall", "side"]})
        objects.append({"image_id": number, "objects": things})
        attributes.append(
            {"image_id": number, "attributes": [{**things[0], "attributes": ["green", "tall"]}]}
        )
    write(root / "image_data.json", data)
    write(root / "region_descriptions.json", regions[::-1])
    write(root / "objects.json", objects)
    write(root / "attributes.json", attributes)
    return root


def _region(image: int, phrase: str, *box: float) -> dict[str, Any]:
    sides = dict(zip(("x", "y", "width", "height"), box, strict=True))
    return {"region_id": 1, "image_id": image, "phrase": phrase, **sides}


def img2dataset(root: Path, tars: int = 2, pictures: int = 3) -> Path:
    """The output of img2dataset as tar shards; captions in .txt and .json, in one of them, or in none."""
    for shard in range(tars):
        members = []
        for place in range(pictures):
            key, number = f"{shard:05d}{place:04d}", shard * pictures + place
            url = f"http://static.flickr.com/2723/{4385058900 + number}_b0f291553e.jpg"
            said = {"caption": f"caption {number}", "url": url, "key": key, "status": "success"}
            members.append((f"{key}.jpg", jpeg(200 + number)))
            if place != 1:
                members.append((f"{key}.txt", f"caption {number}".encode()))
            if place != 2:
                members.append((f"{key}.json", json.dumps(said).encode()))
        write_tar(root / f"{shard:05d}.tar", members)
        write(root / f"{shard:05d}_stats.json", {"count": pictures})
    return root


def objects365(root: Path) -> Path:
    """Objects365, version 2: its annotations name other folders than those that are there."""
    images, boxes = [], []
    for number in range(1, 4):
        write(root / "train" / f"patch{number}" / f"objects365_v1_{number:08d}.jpg", jpeg(300 + number))
        name = f"images/v1/patch{number}/objects365_v1_{number:08d}.jpg"
        images.append({"id": number, "file_name": name, "width": 64, "height": 48})
        boxes += [_instance(number, 1, [1.123456, 2, 30, 20]), _instance(number, 1, [3, 2, 3, 20])]
    found = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "Person"}]}
    write(root / "zhiyuan_objv2_train.json", found)
    return root


def openimages(root: Path) -> Path:
    """Open Images: boxes as fractions, names of classes."""
    names = [f"{number:016x}" for number in range(11, 13)]
    for place, name in enumerate(names):
        write(root / "train" / f"{name}.jpg", jpeg(400 + place))
    head = ["ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax", "IsOccluded"]
    rows = [[names[0], "xclick", "/m/0cat", "1", "0.25", "0.75", "0", "0.5", "0"]]
    rows += [[names[1], "xclick", "/m/0dog", "1", "0.1", "1.0", "0.5", "1.0", "0"]]
    rows += [[names[1], "xclick", "/m/0gone", "1", "0.1", "1.0", "0.5", "1.0", "0"], ["broken"]]
    boxes = io.StringIO()
    csv.writer(boxes).writerows([head, *rows])
    write(root / "oidv6-train-annotations-bbox.csv", boxes.getvalue())
    write(root / "class-descriptions-boxable.csv", "/m/0cat,Cat\n/m/0dog,Dog\n")
    return root


def imagenet(root: Path) -> Path:
    for place, name in enumerate(("n01440764", "n01443537")):
        for number in range(3):
            write(root / "train" / name / f"{name}_{number}.JPEG", jpeg(500 + 10 * place + number))
    return root


TEXTS = [f"Text number {number} of some, with words in it." for number in range(12)]


def texts(root: Path) -> Path:
    from pyarrow import Table
    from pyarrow.parquet import write_table

    rows = [{"text": text, "id": number} for number, text in enumerate(TEXTS)]
    lines = [json.dumps(row) + "\n" for row in rows]
    write(root / "a.jsonl", "".join(lines[:2]))
    write(root / "c4-train.00000-of-01024.json.gz", gzip.compress("".join(lines[2:4]).encode()))
    write(root / "below" / "list.json", rows[4:6])
    write(root / "plain.txt", "\n\n".join(TEXTS[6:8]) + "\n\n")
    write(root / "AA" / "wiki_00", "".join(lines[8:10]))
    write_table(Table.from_pylist(rows[10:]), root / "train-00000.parquet", row_group_size=1)
    return root


def folder(root: Path) -> Path:
    for number in range(3):
        write(root / "a" / f"{number}.jpg", jpeg(600 + number))
        write(root / "a" / f"{number}.txt", f"first of {number}\n\nsecond of {number}\n")
    write(root / "b.jpg", jpeg(610))
    region = {"phrase": "the red part", "box": [1, 2, 30, 20]}
    write(root / "b.json", {"captions": ["a picture"], "regions": [region]})
    return root


def table(root: Path) -> Path:
    for number in range(3):
        write(root / "photos" / f"{number}.jpg", jpeg(700 + number))
    rows = [f"photos/{number // 2}.jpg|said {number}" for number in range(6)]
    return write(root / "captions.csv", "\n".join(["file,what", *rows]).replace("|", ","))


MAKERS: Mapping[str, Any] = {
    "coco": coco,
    "vg": visual_genome,
    "cc3m": img2dataset,
    "objects365": objects365,
    "openimages": openimages,
    "imagenet": imagenet,
    "c4": texts,
    "folder": folder,
}
"""By the names of corpora; each makes one in a folder."""


def members(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                assert file is not None
                assert member.name not in found
                found[member.name] = file.read()
    return found


def annotations(folder: Path) -> dict[str, dict[str, Any]]:
    """What stands beside the pictures of all shards of a folder, by their names in the corpus."""
    found = [json.loads(data) for name, data in members(folder).items() if name.endswith(".json")]
    return {one["id"]: one for one in found}
