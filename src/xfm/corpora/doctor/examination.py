"""The examination of a data set: every record is checked, findings become counts and a page."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from xfm.config.corpora import DoctorConfig, RecordKind
from xfm.config.plain import to_plain
from xfm.config.tables import table_kind
from xfm.core.errors import UserError
from xfm.core.files import writing
from xfm.core.locks import locked
from xfm.core.paths import home_path, is_url
from xfm.core.processes import cores
from xfm.core.results_folder import ResultOrigin, require_free, sign
from xfm.corpora.doctor.checks import check_image_file, check_record
from xfm.corpora.doctor.findings import Finding, Severity, Statistics, distribution, rare_classes
from xfm.corpora.doctor.records import Data, Part, SourceData, TableData, spread
from xfm.corpora.doctor.report import TABLE, Diagnosis, FindingExample, card_of, write_page
from xfm.corpora.images import near_earlier
from xfm.data.folders import passed_over, scan_folder
from xfm.data.records import BadRecordError, SampleKind
from xfm.data.skipped import SkippedRecords
from xfm.data.sources import open_source, resolve_files
from xfm.data.sources.base import RecordSource
from xfm.data.tables import ColumnMap
from xfm.data.tables.objects import PREFIX
from xfm.executors.executor import LocalPool
from xfm.reports.scores import write_json

RECORD = np.dtype([("key", "<i8"), ("asked", "<i8"), ("harm", "u1")])
PICTURE = np.dtype([("record", "<u4"), ("digest", "<i8"), ("hash", "<u8")])
"""What is compared: keys of records, and looks of pictures; see `CheckedRecord`."""


def found_together(
    records: np.ndarray, pictures: np.ndarray, config: DoctorConfig
) -> Iterator[tuple[Finding, np.ndarray, np.ndarray]]:
    """Findings among [N] `RECORD` and [P] `PICTURE`: numbers of the records, and of those that they are
    compared with."""
    again, first = _repeated(records["key"])
    yield Finding.TWICE, again, first
    again, first = _repeated(records["asked"])
    differ = records["key"][again] != records["key"][first]
    yield Finding.CONTRADICTION, again[differ], first[differ]
    if config.near_duplicates:
        own = pictures[np.sort(np.unique(pictures["digest"], return_index=True)[1])]
        before = near_earlier(np.ascontiguousarray(own["hash"]), config.distance)
        near = np.flatnonzero(before >= 0)
        yield Finding.ALIKE, own["record"][near], own["record"][before[near]]


def _repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of keys other than 0 that stand earlier, too, and the first of each."""
    places = np.flatnonzero(keys)
    _, first, inverse = np.unique(keys[places], return_index=True, return_inverse=True)
    firsts = first[inverse]
    again = np.flatnonzero(firsts != np.arange(len(places)))
    return places[again], places[firsts[again]]


# ---------------------------------------------------------------- which kind it is
_LOOKED = 64
"""Records by which the kind is guessed."""
_OF_TASKS = frozenset({"label", "question", "answer", "anchor", "positive", "box", "left", "right"})
_SAID_BY = {
    "image": SampleKind.IMAGE,
    "caption": SampleKind.PAIR,
    "captions": SampleKind.PAIR,
    "regions": SampleKind.REGION,
}


def data_of(path: str, config: DoctorConfig, columns: str, pictures: Path | None, folder: Path) -> Data:
    """The data set at a path; `folder` is for pictures that stand in a table."""
    asked = config.kind is not RecordKind.AUTO
    options = {"task": config.task, "columns": columns, "pictures": pictures}
    named = [option for option, given in options.items() if given]
    if asked and named:
        raise UserError(f"--kind is for records, --{named[0]} for tables: leave one of them out")
    if named or (not asked and _is_table(path)):
        return TableData(path, folder / "pictures", config, ColumnMap.parse(columns), pictures)
    kind = SampleKind(config.kind.value) if asked else _guessed(path)
    return SourceData(path, kind, config.sample, config.seed)


def _is_table(path: str) -> bool:
    if path.startswith(PREFIX) or is_url(path):
        return path.startswith(PREFIX)
    place = Path(path)
    if place.is_dir():
        names = () if resolve_files(path) else scan_folder(place)[0]
        return len({name.partition("/")[0] for name in names}) > 1 and all("/" in name for name in names)
    kind = table_kind(place)
    if kind != ".jsonl" or not place.name.endswith(kind):
        return kind is not None
    fields = {name for one in _annotations(open_source(place, SampleKind.TEXT)) for name in one}
    return bool(fields & _OF_TASKS) and not fields & {"captions", "regions"}


def _guessed(path: str) -> SampleKind:
    """The richest kind among some records, spread over all."""
    for opened in (SampleKind.PAIR, SampleKind.IMAGE):
        with suppress(UserError):
            if kinds := _kinds_said(open_source(path, opened), SampleKind.IMAGE):
                return max(kinds, key=lambda kind: kind.number)
    # There is no picture, or none can be read: are any meant to be there?
    kinds = _kinds_said(open_source(path, SampleKind.TEXT), SampleKind.TEXT)
    return max(kinds, key=lambda kind: kind.number, default=SampleKind.TEXT)


def _kinds_said(source: RecordSource, otherwise: SampleKind) -> set[SampleKind]:
    found = _annotations(source)
    said = {kind for one in found for name, kind in _SAID_BY.items() if one.get(name)}
    return {otherwise, *said} if found else said


def _annotations(source: RecordSource) -> list[Mapping[str, Any]]:
    """Those of some records, spread over all."""
    found = list[Mapping[str, Any]]()
    for number in spread(len(source), _LOOKED, 0).tolist():
        with suppress(BadRecordError):
            found.append(source.record(number).annotation)
    return found


# ---------------------------------------------------------------- all records
COUNTS, PAGE = "doctor.json", "report.html"
_OUT, _HURT = 1, 2
"""Bits of `harm` of a record."""
Arrays = tuple[np.ndarray, np.ndarray]
"""`RECORD` and `PICTURE` of some records."""


def examine(
    path: Path | str,
    out: Path | str,
    config: DoctorConfig | None = None,
    columns: str = "",
    pictures: Path | str | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Examine a data set, and write `doctor.json` and `report.html` into `out`. `path` is as of
    `xfm.data.sources.open_source` or, of a table, `xfm.data.tables.open_table`; `columns` are
    FIELD=COLUMN,... and `pictures` the folder of a table's paths. UserError where nothing can be read, or
    `out` holds other results."""
    config, out = config or DoctorConfig(), home_path(out)
    shown = str(path)
    # Absolute: processes that help may be in another folder.
    named = shown.startswith(PREFIX) or is_url(shown)
    path = shown if named else str(home_path(path).absolute())
    about = {"data": path, "kind": config.task or config.kind.value, "sample": str(config.sample)}
    maker = ResultOrigin("doctor", about, shown)
    require_free(out, maker)
    work = out.absolute() / ".examining"
    with locked(out):
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        try:
            with writing(work, "and run the same command again"):
                work.mkdir(parents=True)
                if not named and Path(path).is_dir() and not resolve_files(path):
                    SkippedRecords().folder(passed_over(shown, scan_folder(Path(path))[1]))
                data = data_of(path, config, columns, home_path(pictures) if pictures else None, work)
                found = _diagnosis(shown, data, config, *_examined(data, config, progress))
            pairs = [(number, other) for kept in found.examples.values() for number, _, other in kept]
            records = data.pick({number for pair in pairs for number in pair if number is not None})
            cards = {number: card_of(one) for number, one in records.items()}
            sign(out, maker)
            write_json(out / COUNTS, found.plain(cards) | {"config": to_plain(config)})
            write_page(out / PAGE, found, cards, config)
        finally:
            check_image_file.cache_clear()
            shutil.rmtree(work, ignore_errors=True)
    return found


def _examined(data: Data, config: DoctorConfig, progress: bool) -> tuple[Statistics, Arrays]:
    counts, arrays = Statistics(config.examples), dict[int, Arrays]()
    with tqdm(total=data.total, unit="record", desc="examining", disable=not progress) as bar:

        def done(part: Part, found: tuple[Statistics, Arrays]) -> None:
            counts.join(found[0])
            arrays[part[0]] = found[1]
            bar.update(found[0].read)

        LocalPool(config.workers or cores()).run(partial(_examine_part, data, config), data.parts(), done)
    parts = [arrays[first] for first in sorted(arrays)]
    records = np.concatenate([np.empty(0, RECORD), *(one for one, _ in parts)])
    return counts, (records, np.concatenate([np.empty(0, PICTURE), *(looks for _, looks in parts)]))


def _examine_part(data: Data, config: DoctorConfig, part: Part) -> tuple[Statistics, Arrays]:
    counts, records, looks = Statistics(config.examples), [], []
    for number, record in enumerate(data.records(part), part[0]):
        done = check_record(record, data.kind, config, counts)
        counts.find(done.found, number)
        harms = {one.finding.harm for one in done.found}
        harm = _OUT * (Severity.LEFT_OUT in harms) | _HURT * (Severity.HURTS in harms)
        records.append((done.key, done.asked, harm))
        looks += [(number, *look) for look in done.looks]
    return counts, (np.array(records, RECORD), np.array(looks, PICTURE))


def _diagnosis(
    path: str, data: Data, config: DoctorConfig, counts: Statistics, compared: Arrays
) -> Diagnosis:
    records, pictures = compared
    harm = records["harm"].copy()
    examples: dict[str, list[FindingExample]] = {
        name: [(number, detail, None) for _, number, detail in kept] for name, kept in counts.examples.items()
    }
    by_lot = spread(counts.read, config.examples, config.seed)[: config.examples]
    examples["shown"] = [(number, "", None) for number in by_lot.tolist()]
    parts, numbers = Counter(counts.parts), Counter(counts.records)
    for finding, found, other in found_together(records, pictures, config):
        if len(found):
            own = np.unique(found)
            parts[finding] = numbers[finding] = len(own)
            pairs = zip(found.tolist(), other.tolist(), strict=True)
            examples[finding] = [(one, "", before) for one, before in islice(pairs, config.examples)]
            if finding.harm is Severity.HURTS:
                harm[own] |= _HURT
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
        {name: distribution(values) for name, values in sorted(counts.spreads.items())},
        dict(sorted(counts.labels.items(), key=lambda one: (-one[1], one[0]))),
        rare,
        examples,
        config.tolerate,
    )
