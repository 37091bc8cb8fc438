"""VQA v2 (Goyal et al., 2017), Visual Genome's questions (Krishna et al., 2017), easy-VQA (Zhou, 2019)."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.data.records import is_text
from xfm.data.tables import TableRow
from xfm.evaluation.benchmarks.read import readers
from xfm.finetuning.start import few
from xfm.metrics.vqa import normalise_answer
from xfm.tasks.rows import Question

VG_WEIGHT = 0.5
"""Weight of a Visual Genome answer, which one person gave, beside the votes of ten."""
LEAST_QUESTIONS = 9
"""To so many questions an answer must be the most frequent one to be on the list that is built."""
MINIVAL = 40
"""One of so many validation pictures is held out where the others are trained on: 1,013 of them."""
_QUESTIONS = "v2_OpenEnded_mscoco_{}_questions.json"
_ANNOTATIONS = "v2_mscoco_{}_annotations.json"


def read_vqa(
    folder: Path, coco: Path, genome: Path | None = None, minival: bool = True
) -> readers.Corpus[Question]:
    """VQA v2: questions, annotations and, where it is there, `answer_list.json`. Questions of Visual Genome
    (`genome`) are trained on, too. With `minival`, validation questions of every 40th picture select the
    epoch; X-FM's code trains on all of them, so that only the server can test."""
    train, val = (_annotated(folder, coco, year) for year in ("train2014", "val2014"))
    answers, note = _answer_list(folder, [*train, *val])
    readers.check_image_file(train[0].image, "put COCO's train2014, val2014 and test2015 there")
    chosen = set(sorted({row.image for row in val})[::MINIVAL] if minival else ())
    scored = {"minival": [row for row in val if row.image in chosen]} if chosen else {}
    train = [*train, *(row for row in val if row.image not in chosen)]
    hidden: dict[str, list[Question]] = {}
    for name, file in (("test-dev", "test-dev2015"), ("test-std", "test2015")):
        if (path := folder / _QUESTIONS.format(file)).is_file():
            for row in readers.read_json_rows(path, "questions"):
                key, image = readers.integer(row, "question_id"), _image(coco, "test2015", row)
                hidden.setdefault(name, []).append(Question(image, row.text("question"), "", "all", key=key))
    more, absent, blank = _read_genome(genome) if genome else ([], {}, [])
    notes = {"answer_list": note}
    if blank:
        why = "questions of Visual Genome without text or answer were skipped"
        notes["blank"] = f"{why}: {len(blank):,} ({few(blank, 3)})"
    return readers.Corpus([*train, *more], scored, hidden, answers=answers, left_out=absent, notes=notes)


def built_answers(questions: Iterable[Question]) -> tuple[str, ...]:
    """Answers to rank on, by the rule of the field's lists of 3,129; most frequent first, then by name. These
    are the normalised `multiple_choice_answer`s of nine or more questions of train and val. Published lists
    were normalised by code that differs in details."""
    counts = Counter(normalise_answer(question.answer) for question in questions)
    often = [(-count, answer) for answer, count in counts.items() if count >= LEAST_QUESTIONS and answer]
    return tuple(answer for _, answer in sorted(often))


def _answer_list(folder: Path, questions: Iterable[Question]) -> tuple[tuple[str, ...], str]:
    path = folder / "answer_list.json"
    if not path.is_file():
        answers = built_answers(questions)
        return answers, (
            f"the list of answers was built, as {path} is missing: the {len(answers):,} answers that most "
            f"people gave to at least {LEAST_QUESTIONS} questions of train and val, or without any those of "
            "the training rows; the published list may differ"
        )
    answers = readers.read_json(path)
    if not isinstance(answers, list) or not answers or not all(is_text(a) and a for a in answers):
        raise UserError(f"{path}: not a list of answers; is it the official file?")
    return tuple(dict.fromkeys(answers)), f"the answers that are ranked are those of {path}"


def _annotated(folder: Path, coco: Path, year: str) -> list[Question]:
    questions = {
        readers.integer(row, "question_id"): row.text("question")
        for row in readers.read_json_rows(readers.need(folder, _QUESTIONS.format(year)), "questions")
    }
    rows = readers.read_json_rows(readers.need(folder, _ANNOTATIONS.format(year)), "annotations")
    found: list[Question] = []
    for row in rows:
        key = readers.integer(row, "question_id")
        if key not in questions:
            raise row.error("question_id", f"is {key}, which the questions do not have")
        given = _given(row)
        if not given:
            raise row.error("answers", "is empty")
        votes = tuple((answer, count / len(given)) for answer, count in Counter(given).items())
        image = _image(coco, year, row)
        common = (
            readers.string(row, "multiple_choice_answer") if "multiple_choice_answer" in row else votes[0][0]
        )
        found.append(Question(image, questions[key], common, readers.string(row, "answer_type"), votes, key))
    return found


def _image(coco: Path, year: str, row: TableRow) -> Path:
    return coco / year / f"COCO_{year}_{readers.integer(row, 'image_id'):012d}.jpg"


def _given(row: TableRow) -> list[str]:
    """Millions are read: the faulty field is only searched for after a failure."""
    try:
        given: list[Any] = [answer["answer"] for answer in row["answers"]]
    except (KeyError, TypeError):
        given = [None]
    if all(map(is_text, given)):
        return given
    return [readers.string(answer, "answer") for answer in readers.inner_rows(row, "answers", ("answer",))]


def _read_genome(folder: Path) -> tuple[list[Question], dict[str, str], list[str]]:
    """Questions, those without picture by reason, and those without text or answer."""
    pictures: dict[str, Path] = {}
    for name in ("VG_100K", "VG_100K_2"):
        if (folder / name).is_dir():
            pictures |= {path.stem: path for path in (folder / name).iterdir()}
    rows = readers.read_json_rows(readers.need(folder, "question_answers.json"), required=("qas",))
    if not pictures:
        raise UserError(f"{folder} holds no pictures; put Visual Genome's VG_100K and VG_100K_2 there")
    found, absent, blank = list[Question](), dict[str, str](), list[str]()
    for row in rows:
        for number, pair in enumerate(
            readers.inner_rows(row, "qas", ("question", "answer", "image_id")), start=1
        ):
            place = f"{pair.place}, question {number}"
            question, answer = (readers.string(pair, field).strip() for field in ("question", "answer"))
            answer = answer.rstrip(".").lower()
            key = readers.integer(pair, "qa_id") if "qa_id" in pair else None
            image = pictures.get(str(readers.integer(pair, "image_id")))
            if not (question and answer):  # a few are
                blank.append(place)
            elif image is None:
                absent[place] = f"the picture {pair['image_id']} is in neither VG_100K nor VG_100K_2"
            else:
                found.append(Question(image, question, answer, "genome", ((answer, VG_WEIGHT),), key))
    return found, absent, blank


HELD_OUT = 60
"""Pictures of the training split, the last ones, that choose between the looks."""
KINDS = {
    "presence": ("yes", "no"),
    "colour": ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow"),
    "shape": ("circle", "rectangle", "triangle"),
}
"""The 13 answers, by kind of question."""


def read_easy_vqa(folder: Path) -> readers.Corpus[Question]:
    """Official questions of `train/` and `test/`, of the kinds colour, shape and presence."""
    rows = _split(folder / "train")
    pictures = list(dict.fromkeys(row.image for row in rows))
    held = set(pictures[max(1, len(pictures) - HELD_OUT) :])
    valid = [row for row in rows if row.image in held]
    train = [row for row in rows if row.image not in held]
    return readers.Corpus(train, {"validation": valid, "test": _split(folder / "test")})


def _split(folder: Path) -> list[Question]:
    path = readers.need(folder, "questions.json")
    rows, remedy = readers.read_json(path), "copy the data folder of the package easy-vqa again"
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: not a list of questions; {remedy}")
    found: list[Question] = []
    for number, row in enumerate(rows):
        three: list[Any] = row if isinstance(row, list) and len(row) == 3 else [None] * 3
        question, answer, picture = three
        kind = next((kind for kind, words in KINDS.items() if answer in words), None)
        told = is_text(question) and question.strip() and type(picture) is int and picture >= 0
        if kind is None or not told:
            wanted = "[question, one of the 13 answers, picture]"
            raise UserError(f"{path}: row {number + 1} is not {wanted}; {remedy}")
        found.append(Question(folder / "images" / f"{picture}.png", question, answer, kind, key=number))
    return found
