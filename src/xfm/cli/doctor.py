"""`xfm doctor`: what is wrong with a data set, before anything is trained on it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xfm.cli._options import option, shared
from xfm.config.corpora import DoctorConfig
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, new_parser
from xfm.core.errors import UserError, amount

if TYPE_CHECKING:
    from xfm.corpora.doctor.report import Diagnosis


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["path"],
        usage="xfm doctor PATH [--OPTION VALUE ...]",
        description="Read tar shards, JSON lines, a folder of pictures or any table, and say what is wrong:\n"
        "pictures that do not decode or end early, boxes outside, absurd texts, duplicates, classes.\n"
        "OUT/report.html has examples, OUT/doctor.json all counts.\n\n"
        "exit status: 0 training may start; 1 records would be left out, or hurt; 2 nothing can be read.",
        examples="  xfm doctor data/coco\n"
        "  xfm doctor data/cc3m --sample 100000 --tolerate 0.01\n"
        "  xfm doctor reviews.csv --task text-classification --columns text=review,label=stars\n"
        "  xfm doctor photos --kind image --out looks",
    )
    option(parser, "--path", "shards, JSON lines, a folder of pictures, or a table", required=True)
    option(parser, "--out", "folder of the results", "doctor")
    shared(parser, "--columns", "--pictures", "--quiet")
    add_fields(parser, DoctorConfig)
    return parser


def run(chosen: Namespace) -> int:
    """Examine, and show the counts; the exit status."""
    config = assemble(DoctorConfig, chosen)
    from xfm.corpora.doctor.examination import PAGE, examine

    found = examine(
        chosen.path, chosen.out, config, chosen.columns, chosen.pictures, progress=not chosen.quiet
    )
    print(table(found))
    shown = f"{chosen.out}/{PAGE} shows examples"
    if found.status == 2:
        raise UserError(f"{chosen.path}: {found.verdict.removesuffix('.')}; {shown}")
    print(f"{found.verdict} {shown}.")
    return found.status


def table(found: "Diagnosis") -> str:
    """The findings, a line each, the worst harm first."""
    lines = [f"{amount(found.read, 'record')} of {found.path}, read as {found.kind}"]
    for finding, parts in found.parts.items():
        records = found.records[finding]
        of = f" in {amount(records, 'record')}" if records != parts else ""
        lines.append(f"{finding.harm.value:<15}{parts:>9,} {finding.heading}{of}")
    return "\n".join(lines)
