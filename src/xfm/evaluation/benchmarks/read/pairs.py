"""Pictures with texts: SNLI-VE (Xie et al., 2019) and files like Hateful Memes' (Kiela et al., 2020)."""

from pathlib import Path

from xfm.data.tables import TableRow
from xfm.evaluation.benchmarks.read.corpus import Corpus, check_picture
from xfm.evaluation.benchmarks.read.readers import chosen, need, picture_below, read_lines, string
from xfm.tasks.rows import LabelledPictureText

ENTAILMENT = ("entailment", "neutral", "contradiction")
HATEFUL = ("not_hateful", "hateful")


def read_snli_ve(folder: Path, images: Path) -> Corpus[LabelledPictureText]:
    """SNLI-VE, `snli_ve_{train,dev,test}.jsonl`, with Flickr30k's pictures and the hypothesis as text.

    Rows without agreement (`-`) are left out, as published.
    """

    open_rows: dict[str, int] = {}

    def split(name: str) -> list[LabelledPictureText]:
        rows = read_lines(need(folder, f"snli_ve_{name}.jsonl"), ("Flickr30K_ID", "sentence2", "gold_label"))
        agreed = [_entailed(row, images) for row in rows if row["gold_label"] != "-"]
        open_rows[name] = len(rows) - len(agreed)
        return agreed

    train, scored = split("train"), {name: split(name) for name in ("dev", "test")}
    check_picture(train[0].image, "put Flickr30k's pictures there")
    counts = ", ".join(f"{count:,} of {name}" for name, count in open_rows.items() if count)
    notes = {"skipped": f"rows on which nobody agreed (-) were skipped, as published: {counts}"}
    return Corpus(train, scored, classes=ENTAILMENT, notes=notes if counts else {})


def _entailed(row: TableRow, images: Path) -> LabelledPictureText:
    number = string(row, "Flickr30K_ID").removesuffix(".jpg")
    image = picture_below(images, f"{number}.jpg", row, "Flickr30K_ID")
    label = chosen(row, "gold_label", {name: name for name in ENTAILMENT})
    return LabelledPictureText(image, string(row, "sentence2"), label, row.get("pairID"))


def read_memes(folder: Path) -> Corpus[LabelledPictureText]:
    """Hateful Memes: `train.jsonl`, `dev_seen.jsonl`, `test_seen.jsonl` and, where they are, the unseen.

    Test files without labels are hidden splits.
    """
    train = _memes(need(folder, "train.jsonl"))
    check_picture(train[0].image, "put the folder img of Hateful Memes there")
    scored: dict[str, list[LabelledPictureText]] = {}
    hidden: dict[str, list[LabelledPictureText]] = {}
    for name in ("dev_seen", "dev", "dev_unseen", "test_seen", "test", "test_unseen"):
        path = folder / f"{name}.jsonl"
        if path.is_file():
            has_labels = "label" in read_lines(path)[0]
            (scored if has_labels else hidden)[name] = _memes(path, has_labels)
    if not scored:
        need(folder, "dev_seen.jsonl")
    return Corpus(train, scored, hidden, HATEFUL)


def _memes(path: Path, labelled: bool = True) -> list[LabelledPictureText]:
    names = dict(enumerate(HATEFUL))
    found: list[LabelledPictureText] = []
    for row in read_lines(path, ("id", "img", "text", *(("label",) if labelled else ()))):
        image = picture_below(path.parent, row.text("img"), row, "img")
        label = chosen(row, "label", names) if labelled else HATEFUL[0]
        found.append(LabelledPictureText(image, string(row, "text"), label, string(row, "id")))
    return found
