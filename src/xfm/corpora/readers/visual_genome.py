"""Visual Genome (Krishna et al., 2017): region descriptions, objects and attributes. Annotations of a
picture are kept compressed until its turn."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.corpora.source_record import Box, GatheredReader, SourceRecord, number_or_nan
from xfm.data.tables.json_list import listed_items

PICTURES, REGIONS, OBJECTS, ATTRIBUTES = (
    "image_data.json", "region_descriptions.json", "objects.json", "attributes.json"
)  # fmt: skip
LARGE = 0.25
"""Share of the picture from which a region's description is a caption, too; else that of the largest is."""
ODD = "region that is no object of JSON"
_FOLDERS = ("VG_100K", "VG_100K_2", "images", "images/VG_100K", "images/VG_100K_2")


class VisualGenomeReader(GatheredReader):
    """Pictures with phrases of regions, and of objects with attributes: `green tall clock`."""

    licence = "Visual Genome: CC BY 4.0; pictures: the terms of Flickr and of whoever took them"

    def inputs(self) -> list[Path]:
        found = []
        for name in (PICTURES, REGIONS, OBJECTS, ATTRIBUTES):
            places = [self.source / name, self.source / "annotations" / name]
            path = next((place for place in places if place.is_file()), None)
            if path is None and name in (PICTURES, REGIONS):
                raise UserError(f"{places[0]} is missing; unpack {name}.zip of Visual Genome there")
            found += [path] if path is not None else []
        return found

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        files = {path.name: path for path in self.inputs()}
        said = {name: _packed(files[name], "id" if name == REGIONS else "image_id") for name in files}
        for number in sorted(said[PICTURES]):
            picture, regions = _unpacked(said[PICTURES], number), _unpacked(said[REGIONS], number)
            objects = _unpacked(said.get(OBJECTS, {}), number).get("objects")
            described = _unpacked(said.get(ATTRIBUTES, {}), number).get("attributes")
            lists = map(_listed, (regions.get("regions"), objects, described))
            yield self._record(number, picture, *lists)
        others = {number for name in said for number in said[name]} - said[PICTURES].keys()
        if others:
            yield SourceRecord(PICTURES, flaw=f"{len(others)} described pictures are not in {PICTURES}")

    def _record(
        self, number: int, picture: dict[str, Any], regions: list[Any], objects: list[Any], more: list[Any]
    ) -> SourceRecord:
        left_out: dict[str, int] = {}
        said = _objects(regions, left_out)
        phrases = [(" ".join(str(o.get("phrase") or "").split()), _box(o, "width", "height")) for o in said]
        numbered = [*_objects(objects, left_out, "object_id"), *_objects(more, left_out, "object_id")]
        named = {one["object_id"]: one for one in numbered}
        things = [(_thing(one), _box(one, "w", "h")) for one in named.values()]
        size = (number_or_nan(picture.get("width")), number_or_nan(picture.get("height")))
        address = str(picture.get("url") or "").split("/")
        told = address[-2] if len(address) > 1 and address[-2] in _FOLDERS else _FOLDERS[0]
        places = [self.source / folder / f"{number}.jpg" for folder in (told, *_FOLDERS)]
        path = next((place for place in places if place.is_file()), places[0])
        # Descriptions of large regions are roughly true of the picture; else that of the largest is.
        whole = size[0] * size[1]
        told = [(text, box) for text, box in phrases if text and box[2] == box[2]]
        texts = [(max(0.0, box[2]) * max(0.0, box[3]), text) for text, box in told]
        large = [text for area, text in texts if area >= LARGE * whole] if whole > 0 else []
        largest = [max(texts)[1]] if texts else []
        others = [f"{name}:{own}" for name in ("coco", "flickr") if (own := picture.get(f"{name}_id"))]
        return SourceRecord(
            str(number),
            path,
            tuple(dict.fromkeys(large or largest)),
            (*phrases, *things),
            size=size,
            known_as=(f"vg:{number}", *others),
            left_out=left_out,
        )


def _thing(one: dict[str, Any]) -> str:
    names, attributes = _listed(one.get("names")), _listed(one.get("attributes"))
    name = str(names[0]) if names else str(one.get("name") or "")
    words = [" ".join(str(word).split()) for word in (*dict.fromkeys(map(str, attributes)), name)]
    return " ".join(word for word in words if word) if name.strip() else ""


def _box(one: dict[str, Any], width: str, height: str) -> Box:
    left, top, wide, high = (number_or_nan(one.get(side)) for side in ("x", "y", width, height))
    return left, top, wide, high


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(items: list[Any], left_out: dict[str, int], key: str = "") -> list[dict[str, Any]]:
    found = [one for one in items if isinstance(one, dict) and (not key or isinstance(one.get(key), int))]
    if len(found) < len(items):
        left_out[ODD] = left_out.get(ODD, 0) + len(items) - len(found)
    return found


def _packed(path: Path, key: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for _, item in listed_items(path):
        number = item.get(key, item.get("image_id", item.get("id"))) if isinstance(item, dict) else None
        if isinstance(number, int) and not isinstance(number, bool) and abs(number) < 2**62:
            found[number] = zlib.compress(json.dumps(item).encode(), 1)
    return found


def _unpacked(packed: dict[int, bytes], number: int) -> dict[str, Any]:
    return json.loads(zlib.decompress(packed[number])) if number in packed else {}
