"""The examination of a data set: all records are looked at, the findings become counts and a page."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from xfm.config.doctor import DoctorConfig
from xfm.config.plain import to_plain
from xfm.data.tables.hub import PREFIX
from xfm.doctor.cards import card_of
from xfm.doctor.cases import PART, Cases, opened
from xfm.doctor.diagnosis import TABLE, Diagnosis, Shown
from xfm.doctor.findings import MEANINGS, Finding, Harm
from xfm.doctor.opening import opening_of, tokenizer_of
from xfm.doctor.page import write_page
from xfm.doctor.tally import Tally
from xfm.doctor.twins import Together, found_together, rare_classes
from xfm.doctor.units import HURT, OUT, ExaminingUnits, forget
from xfm.engines.local import LocalPool
from xfm.files import writing
from xfm.locks import locked
from xfm.paths import home_path, is_url
from xfm.processes import cores
from xfm.reports.scores import write_json
from xfm.results_folder import Maker, require_free, sign

COUNTS, PAGE = "doctor.json", "report.html"
_WORK = ".examining"


def examine(
    path: Path | str,
    out: Path | str,
    config: DoctorConfig | None = None,
    columns: str = "",
    pictures: Path | str | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Read a data set, and write what is wrong with it into a folder: `doctor.json` and `report.html`.

    Args:
        path: shards, JSON lines or a folder of pictures, as of `xfm.data.sources.open_source`; or a table, as
            of `xfm.data.tables.open_table`.
        out: folder of the results.
        config: how it is examined.
        columns: what the columns of a table are called, FIELD=COLUMN,...
        pictures: folder that the paths of a table start from, if not its own.
        progress: show a bar.

    Raises:
        UserError: it cannot be read at all, or the folder holds other results or cannot be written.
    """
    config, out = config or DoctorConfig(), home_path(out)
    shown = str(path)
    # Absolute: processes that help may be in another folder.
    named = shown.startswith(PREFIX) or is_url(shown)
    path = shown if named else str(home_path(path).absolute())
    about = {"data": path, "kind": config.task or config.kind.value, "sample": str(config.sample)}
    maker = Maker("doctor", about, shown)
    require_free(out, maker)
    work = out.absolute() / _WORK
    with locked(out):
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        try:
            with writing(work, "and run the same command again"):
                work.mkdir(parents=True)
            opening = opening_of(path, config, columns, home_path(pictures) if pictures else None, work)
            cases = opened(opening)
            units = ExaminingUnits(opening, config, tokenizer_of(config.tokenizer), work)
            tally = _examined(units, len(cases), progress)
            found = _diagnosis(shown, units, tally, len(cases))
            _write(found, cases, out, maker, config)
        finally:
            forget()
            shutil.rmtree(work, ignore_errors=True)
    return found


def _examined(units: ExaminingUnits, count: int, progress: bool) -> Tally:
    tally, most = Tally(), units.config.examples
    engine = LocalPool(units.config.workers or cores())
    with tqdm(total=count, unit="record", desc="examining", disable=not progress) as bar:

        def after(number: int) -> None:
            one = units.load(number)
            tally.join(one, most)
            bar.update(one.read)

        engine.run(units, range(-(-count // PART)), after)
    return tally


def _diagnosis(path: str, units: ExaminingUnits, tally: Tally, count: int) -> Diagnosis:
    config, kind = units.config, units.opening.kind
    records, pictures, said = units.seen(range(-(-count // PART)))
    harm = records["harm"].copy()
    examples = {
        name: [Shown(one.number, one.detail) for one in kept] for name, kept in tally.examples.items()
    }
    parts, numbers = Counter(tally.parts), Counter(tally.records)
    for one in found_together(records, pictures, said, config):
        if len(one.records):
            parts[one.finding] = numbers[one.finding] = len(one.records)
            examples[one.finding] = _shown(one)
            if MEANINGS[one.finding].harm is Harm.HURTS:
                harm[one.records] |= HURT
    rare = rare_classes(tally.labels, config.few)
    if rare:
        parts[Finding.FEW], numbers[Finding.FEW] = len(rare), sum(rare.values())
    out = (harm & OUT) > 0
    return Diagnosis(
        path,
        TABLE if kind is None else kind.value,
        tally.read,
        int(np.count_nonzero(out)),
        int(np.count_nonzero(~out & (harm > 0))),
        {finding: parts[finding] for finding in MEANINGS if parts[finding]},
        {finding: numbers[finding] for finding in MEANINGS if parts[finding]},
        tally.spreads,
        dict(sorted(tally.labels.items(), key=lambda one: (-one[1], one[0]))),
        rare,
        examples,
        config.tolerate,
    )


def _shown(one: Together) -> list[Shown]:
    alone = one.finding is Finding.COMMON
    return [Shown(number, "", None if alone else other) for number, other in one.examples]


def _write(found: Diagnosis, cases: Cases, out: Path, maker: Maker, config: DoctorConfig) -> None:
    wanted = {number for kept in found.examples.values() for one in kept for number in one.numbers}
    table = found.kind == TABLE
    cards = {number: card_of(cases.case(number), table, config) for number in sorted(wanted)}
    sign(out, maker)
    places = {number: card.place for number, card in cards.items()}
    write_json(out / COUNTS, found.plain(places) | {"config": to_plain(config)})
    write_page(out / PAGE, found, cards, config)
