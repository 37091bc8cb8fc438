"""The examination of a data set: every record is checked, findings become counts and a page."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from xfm.config.corpora import DoctorConfig
from xfm.config.plain import to_plain
from xfm.core.files import writing
from xfm.core.locks import locked
from xfm.core.paths import home_path, is_url
from xfm.core.processes import cores
from xfm.core.results_folder import ResultOrigin, require_free, sign
from xfm.corpora.doctor.checks import check_image_file
from xfm.corpora.doctor.findings import Finding, Severity, Statistics, ticket
from xfm.corpora.doctor.kinds import data_of, tokenizer_of
from xfm.corpora.doctor.record_checks import CheckedRecord, RecordChecker
from xfm.corpora.doctor.records import Part, SourceData, TableData, close_source
from xfm.corpora.doctor.report import TABLE, Diagnosis, FindingExample, card_of, write_page
from xfm.corpora.images import first_near, near_earlier
from xfm.data.tables.objects import PREFIX
from xfm.data.tokenizer import Tokenizer
from xfm.executors.executor import LocalPool
from xfm.reports.scores import write_json

RECORD = np.dtype([("key", "<u8"), ("asked", "<u8"), ("harm", "u1")])
PICTURE = np.dtype([("record", "<u4"), ("digest", "<u8"), ("hash", "<u8")])
SAID = np.dtype([("record", "<u4"), ("digest", "<u8")])
"""What is compared: keys of records, looks of pictures, and texts; see `CheckedRecord`."""
_COMMON, _COMMON_SHARE = 10, 0.01
"""Records, and their share of all, that have a text from which on it is common."""
_MOST_CLASSES = 1000


class GroupFinding(NamedTuple):
    """A finding, the numbers of its records, and examples, each with the number of the other record."""

    finding: Finding
    records: np.ndarray
    examples: list[tuple[int, int]]


def found_together(
    records: np.ndarray, pictures: np.ndarray, said: np.ndarray, config: DoctorConfig
) -> Iterator[GroupFinding]:
    """Findings among [N] `RECORD`, [P] `PICTURE` and [T] `SAID`."""
    places = np.flatnonzero(records["key"])
    firsts, again = _repeated(records["key"][places])
    yield _paired(Finding.TWICE, places[again], places[firsts[again]], config)
    yield _contradicting(records, config)
    if config.near_duplicates:
        yield _alike(pictures, config)
    yield _common(said, len(records), config)


def rare_classes(labels: Counter[str], few: int) -> dict[str, int]:
    """Classes with fewer rows than `few`; none where labels are values or too many to be classes."""
    if len(labels) > _MOST_CLASSES or (len(labels) > 50 and all(map(_is_number, labels))):
        return {}
    return {name: count for name, count in labels.items() if count < few}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    firsts = first[inverse]
    return firsts, np.flatnonzero(firsts != np.arange(len(keys)))


def _paired(finding: Finding, found: np.ndarray, others: np.ndarray, config: DoctorConfig) -> GroupFinding:
    chosen = _drawn(found, config)
    return GroupFinding(finding, found, [(int(found[place]), int(others[place])) for place in chosen])


def _drawn(found: np.ndarray, config: DoctorConfig) -> list[int]:
    """Random places; of very many, the first million take part."""
    tickets = [ticket(number, config.seed) for number in found[:1_000_000].tolist()]
    return sorted(range(len(tickets)), key=tickets.__getitem__)[: config.examples]


def _contradicting(records: np.ndarray, config: DoctorConfig) -> GroupFinding:
    places = np.flatnonzero(records["asked"])
    firsts, again = _repeated(records["asked"][places])
    first = places[firsts[again]]
    differ = records["key"][places[again]] != records["key"][first]
    return _paired(Finding.CONTRADICTION, places[again][differ], first[differ], config)


def _alike(pictures: np.ndarray, config: DoctorConfig) -> GroupFinding:
    _, first = np.unique(pictures["digest"], return_index=True)
    own = pictures[np.sort(first)]
    hashes = np.ascontiguousarray(own["hash"])
    places = np.flatnonzero(near_earlier(hashes, config.distance))
    numbers = own["record"][places].astype(np.int64)
    examples = list[tuple[int, int]]()
    for chosen in _drawn(numbers, config):
        other = first_near(hashes, int(places[chosen]), config.distance)
        examples.append((int(numbers[chosen]), int(own["record"][other or 0])))
    return GroupFinding(Finding.ALIKE, np.unique(numbers), examples)


def _common(said: np.ndarray, total: int, config: DoctorConfig) -> GroupFinding:
    own = np.unique(said)  # a record says a text once
    _, inverse, counts = np.unique(own["digest"], return_inverse=True, return_counts=True)
    often = counts[inverse] >= max(_COMMON, _COMMON_SHARE * total)
    numbers = np.unique(own["record"][often]).astype(np.int64)
    return _paired(Finding.COMMON, numbers, numbers, config)


COUNTS, PAGE = "doctor.json", "report.html"
_WORK = ".examining"
_OUT, _HURT = 1, 2
"""Bits of `harm` of a record."""


@dataclass(frozen=True)
class _PartReport:
    """Counts of a part, and `RECORD`, `PICTURE` and `SAID` of its records."""

    counts: Statistics
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray]


def examine(
    path: Path | str,
    out: Path | str,
    config: DoctorConfig | None = None,
    columns: str = "",
    pictures: Path | str | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Examine a data set, and write `doctor.json` and `report.html` into `out`.

    `path` is as of `xfm.data.sources.open_source` or, of a table, `xfm.data.tables.open_table`; `columns` are
    FIELD=COLUMN,... and `pictures` the folder of a table's paths. UserError where nothing can be read, or
    `out` holds other results.
    """
    config, out = config or DoctorConfig(), home_path(out)
    shown = str(path)
    # Absolute: processes that help may be in another folder.
    named = shown.startswith(PREFIX) or is_url(shown)
    path = shown if named else str(home_path(path).absolute())
    about = {"data": path, "kind": config.task or config.kind.value, "sample": str(config.sample)}
    maker = ResultOrigin("doctor", about, shown)
    require_free(out, maker)
    work = out.absolute() / _WORK
    with locked(out):
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        try:
            with writing(work, "and run the same command again"):
                work.mkdir(parents=True)
                data = data_of(path, config, columns, home_path(pictures) if pictures else None, work)
                found = _diagnosis(shown, data, config, *_examined(data, config, progress))
            examples = [one for kept in found.examples.values() for one in kept]
            pairs = [(one.number, one.other) for one in examples]
            records = data.pick({number for pair in pairs for number in pair if number is not None})
            cards = {number: card_of(one, found.kind == TABLE, config) for number, one in records.items()}
            sign(out, maker)
            write_json(out / COUNTS, found.plain(cards) | {"config": to_plain(config)})
            write_page(out / PAGE, found, cards, config)
        finally:
            for cache in (close_source, check_image_file.cache_clear, _tokenizer.cache_clear):
                cache()
            shutil.rmtree(work, ignore_errors=True)
    return found


def _examined(
    data: SourceData | TableData, config: DoctorConfig, progress: bool
) -> tuple[Statistics, tuple[np.ndarray, ...]]:
    counts, arrays = Statistics(), dict[int, tuple[np.ndarray, ...]]()
    executor = LocalPool(config.workers or cores())
    with tqdm(total=data.total, unit="record", desc="examining", disable=not progress) as bar:

        def done(part: Part, report: _PartReport) -> None:
            counts.join(report.counts, config.examples)
            arrays[part[0]] = report.arrays
            bar.update(report.counts.read)

        function = partial(_examine_part, data, config, tokenizer_of(config.tokenizer))
        executor.run(function, data.parts(), done)
    kinds = (RECORD, PICTURE, SAID)
    parts = zip(*(arrays[first] for first in sorted(arrays)), strict=True) if arrays else ((), (), ())
    return counts, tuple(
        np.concatenate([np.empty(0, kind), *part]) for kind, part in zip(kinds, parts, strict=True)
    )


def _examine_part(
    data: SourceData | TableData, config: DoctorConfig, tokenizer: Path | None, part: Part
) -> _PartReport:
    counts, found, first = Statistics(), list[CheckedRecord](), part[0]
    check = RecordChecker(config, data.kind, _tokenizer(tokenizer))
    for number, record in enumerate(data.records(part), first):
        done = check(record, counts)
        counts.read += 1
        counts.find(done.found, number, config.seed, config.examples)
        found.append(done)
    records = [
        (one.key, one.asked, _OUT * one.has(Severity.LEFT_OUT) | _HURT * one.has(Severity.HURTS))
        for one in found
    ]
    looks = [(number, *look) for number, one in enumerate(found, first) for look in one.looks]
    said = [(number, text) for number, one in enumerate(found, first) for text in one.said]
    return _PartReport(counts, (np.array(records, RECORD), np.array(looks, PICTURE), np.array(said, SAID)))


@lru_cache(maxsize=1)
def _tokenizer(path: Path | None) -> Tokenizer | None:
    return None if path is None else Tokenizer.load(path)


def _diagnosis(
    path: str,
    data: SourceData | TableData,
    config: DoctorConfig,
    counts: Statistics,
    compared: tuple[np.ndarray, ...],
) -> Diagnosis:
    records, pictures, said = compared
    harm = records["harm"].copy()
    examples = {
        name: [FindingExample(one.number, one.detail) for one in kept]
        for name, kept in counts.examples.items()
    }
    parts, numbers = Counter(counts.parts), Counter(counts.records)
    for one in found_together(records, pictures, said, config):
        if len(one.records):
            parts[one.finding] = numbers[one.finding] = len(one.records)
            examples[one.finding] = [
                FindingExample(number, "", None if one.finding is Finding.COMMON else other)
                for number, other in one.examples
            ]
            if one.finding.harm is Severity.HURTS:
                harm[one.records] |= _HURT
    rare = rare_classes(counts.labels, config.rare_class_below)
    if rare:
        parts[Finding.FEW], numbers[Finding.FEW] = len(rare), sum(rare.values())
    out = (harm & _OUT) > 0
    return Diagnosis(
        path,
        TABLE if data.kind is None else data.kind.value,
        counts.read,
        int(np.count_nonzero(out)),
        int(np.count_nonzero(~out & (harm > 0))),
        {finding: parts[finding] for finding in Finding if parts[finding]},
        {finding: numbers[finding] for finding in Finding if parts[finding]},
        counts.spreads,
        dict(sorted(counts.labels.items(), key=lambda one: (-one[1], one[0]))),
        rare,
        examples,
        config.tolerate,
    )
