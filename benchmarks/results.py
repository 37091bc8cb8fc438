"""Results as files, and the tables of the documentation made from them.

    python -m benchmarks.results record runs/quickstart results/quickstart.csv [--untrained FOLDER]
    python -m benchmarks.results curve runs/quickstart results/curves/nano.csv
    python -m benchmarks.results tables

`record` keeps the scores of an evaluated run as a row of a CSV file; run it on the machine and with the
checkout that made the run. A run that is there already is not written twice. Where its evaluation had no time
for fine-tunings from random weights, those of `--untrained` stand in the row: a longer evaluation of the same
weights. `curve` keeps the losses of a run, a row for each step that was logged. `tables` (`make tables`)
writes the tables of README.md and docs/ anew, each between `<!-- KIND FILE -->` and `<!-- /KIND -->`:

- `scores`: the newest run of the file, with the rows of `TABLES` for the page;
- `median`: the run with the median of relations of all files that match, with the lowest and highest
  scores of all of them, likewise;
- `averages`: those of the `results.csv` of `xfm ablate`;
- `crossed`: intervals of an ablation that count test cases, of `benchmarks/crossed.py`;
- `photos`, `photos-short`: `results/photos.csv`, of `results/photos/evaluate.py` and `absence.py`;
- `speed`: what a benchmark has added to a file by its `--csv`.
"""

import argparse
import csv
import io
import json
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from xfm.core.errors import UserError
from xfm.core.files import read_json_object, write_text
from xfm.evaluation.ablation import ScoredRun, as_csv, average_table, machine
from xfm.metrics.numbers import percent
from xfm.reports.charts import read_curves
from xfm.training.run_folder import LOG_FILE

ROOT = Path(__file__).resolve().parent.parent
NOUNS = "(baseline: nouns alone)"
MEDIAN = "retrieval/hard/text_r1_matching_relation:value"
HEADLINES = {
    "Another relation, one of four captions, by matching": "retrieval/hard/text_r1_matching_relation",
    "Hard distractors of all kinds, by matching": "retrieval/hard/text_r1_matching",
    "Absent phrases, AUROC (baseline: contrast)": "absence/test/phrase_auroc",
    "Questions, held-out combinations": "vqa/combinations/accuracy",
    "Two-picture reasoning, held-out combinations": "reasoning/combinations/accuracy",
    "Grounding, held-out combinations, IoU at least 0.5": "grounding/combinations/acc50",
    f"Picture to caption, R@1 of 1,000, re-ranked {NOUNS}": "retrieval/seen/text_r1_rerank",
    f"Caption to picture, R@1 of 1,000, re-ranked {NOUNS}": "retrieval/seen/image_r1_rerank",
    "Caption entailment": "entailment/test/accuracy",
}
EVERYTHING = {
    "Hard distractors, by matching": "retrieval/hard/text_r1_matching",
    "- another relation, by matching": "retrieval/hard/text_r1_matching_relation",
    "- another place, by matching": "retrieval/hard/text_r1_matching_place",
    "- another size, by matching": "retrieval/hard/text_r1_matching_size",
    "- another count, by matching": "retrieval/hard/text_r1_matching_count",
    "- another background, by matching": "retrieval/hard/text_r1_matching_background",
    "Hard distractors, by contrast": "retrieval/hard/text_r1",
    "Absent phrases, AUROC (baseline: contrast)": "absence/test/phrase_auroc",
    "- of objects": "absence/test/phrase_auroc_object",
    "- of relations": "absence/test/phrase_auroc_relation",
    "Nothing in a gallery fits, AUROC (baseline: contrast)": "absence/test/gallery_auroc",
    "Questions, held-out combinations": "vqa/combinations/accuracy",
    "Two-picture reasoning, held-out combinations": "reasoning/combinations/accuracy",
    "Grounding, held-out combinations": "grounding/combinations/acc50",
    f"Picture to caption, R@1 of 1,000, by contrast {NOUNS}": "retrieval/seen/text_r1",
    f"Caption to picture, R@1 of 1,000, by contrast {NOUNS}": "retrieval/seen/image_r1",
    f"Picture to caption, re-ranked by matching {NOUNS}": "retrieval/seen/text_r1_rerank",
    f"Caption to picture, re-ranked by matching {NOUNS}": "retrieval/seen/image_r1_rerank",
    f"Picture to caption, by matching alone {NOUNS}": "retrieval/seen/text_r1_matching",
    f"Caption to picture, by matching alone {NOUNS}": "retrieval/seen/image_r1_matching",
    f"Picture to caption, held-out combinations {NOUNS}": "retrieval/combinations/text_r1_rerank",
    f"Picture to caption, held-out objects {NOUNS}": "retrieval/objects/text_r1_rerank",
    "Matching, AUROC (baseline: contrast)": "matching/test/auroc",
    "Matching, expected calibration error (less is better)": "matching/test/calibration_error",
    "Grounding, IoU at least 0.5, four objects or more": "grounding/seen/acc50",
    "Questions": "vqa/seen/accuracy",
    "- what is ...": "vqa/seen/accuracy_what",
    "- yes or no": "vqa/seen/accuracy_yes_no",
    "Two-picture reasoning": "reasoning/seen/accuracy",
    "Caption entailment": "entailment/test/accuracy",
    "Caption paraphrase": "paraphrase/test/accuracy",
    "Masked words, right picture (baseline: wrong, blank or none)": "masked_token/test/accuracy_right_image",
    "Category of objects outside the probe's training rows, linear probe": "category/test/probe_accuracy",
    "Handwritten digits, linear probe (baseline: raw pixels)": "digits/test/probe_accuracy",
}
_SEEN = "retrieval/seen"
TABLES: dict[str, dict[str, str]] = {
    "README.md": HEADLINES,
    "docs/results.md": EVERYTHING,
    **{f"docs/{page}.md": {} for page in ("evidence", "performance", "search", "pipelines", "published")},
    "docs/planning.md": {},
}
_KINDS = "scores|median|averages|crossed|photos-short|photos|speed"
MARKS = re.compile(
    rf"(?P<begins><!-- (?P<kind>{_KINDS}) (?P<file>\S+) -->\n)"
    r".*?(?P<ends><!-- /(?P=kind) -->)",
    re.DOTALL,
)
_DESIGNS = {
    "test-title": "Open Clip Art, titles that no training has",
    "test-artist": "Open Clip Art, artists that no training has",
    "test-emoji": "EmojiOne, a design that no training has",
}
_ASKED = {"text": "picture to text", "image": "text to picture"}
_PROBED = "films: favourable", "tweets: favourable", "source of four"
PHOTOS = {
    **{
        f"Scenes, {what}, one of four captions, by {rule}": f"retrieval/hard/text_r1{key}{kind}"
        for what, kind in (("another relation", "_relation"), ("distractors of all kinds", ""))
        for rule, key in (("matching", "_matching"), ("contrast", ""), ("both", "_rerank"))
    },
    **{
        f"{design}: {asked}, {cutoff}{how}": f"{split}/{direction}_{key}{rule}"
        for split, design in _DESIGNS.items()
        for direction, asked in _ASKED.items()
        for cutoff, key in (("R@1", "r1"), ("R@10", "r10"))
        for how, rule in (("", ""), (", re-ranked", "_rerank"))
    },
    **{
        f"Kinds of {of}, ten examples each, linear probe of {whose}": f"kinds/{source}/{whose}"
        for of, source in (("Open Clip Art", "openclipart"), ("EmojiOne", "emojione"))
        for whose in ("photos", "EfficientNet-lite0")
    },
    **{
        f"Sentences, {question}, linear probe of {whose}": f"language/{question}/{whose}"
        for question in _PROBED
        for whose in ("photos", "MiniLM", "TF-IDF")
    },
    **{
        f"Absent from {size:,} pictures, {share}": f"absence/{size}/{share}"
        for size in (100, 1000, 5000)
        for share in ("refused at 95 % answered", "refused", "answered")
    },
}
"""Scores of the model `photos`; its other rows are in the file."""
_SHORT = (
    *(f"retrieval/hard/text_r1{rule}_relation" for rule in ("_matching", "", "_rerank")),
    *("test-title/image_r1", "test-title/image_r1_rerank", "test-title/image_r10"),
    *("test-artist/image_r1", "test-emoji/image_r1", "absence/1000/refused at 95 % answered"),
)
PHOTOS_SHORT = {label: key for label, key in PHOTOS.items() if key in _SHORT}
ABOUT = ("machine", "threads", "torch", "date", "commit")
"""What stands beside the rows of a benchmark."""
PARTS = ("value", "low", "high", "chance", "baseline", "n", "scratch")
"""What is kept of every score."""


def scored_runs(rows: Iterable[Mapping[str, str]]) -> list[ScoredRun]:
    """The runs of a `results.csv`, of which some may lack scores that others have."""
    about = ("recipe", "arm", "seed", "steps", "machine", "minutes")
    return [
        ScoredRun(
            row["arm"],
            int(row["seed"]),
            {key: float(cell) for key, cell in row.items() if key not in about and cell},
        )
        for row in rows
    ]


def row_of(run: Path, untrained: Path | None = None) -> dict[str, Any]:
    """The row of a run folder: recipe, seed, steps, minutes, machine, versions, and every score. Those from
    random weights are of `untrained`, another evaluation of the same model, if that is given."""
    details = read_json_object(run / "evaluation.json")
    origin = details["provenance"]
    processes = details["config"]["processes"]  # side by side; they end about together
    found: dict[str, Any] = {
        "recipe": origin["recipe"],
        "seed": origin["seed"],
        "steps": origin["steps"],
        "began_with": _told(origin.get("began_with")),
        "pretraining_minutes": origin["position"].get("minutes", ""),
        "evaluation_minutes": round(sum(details["seconds"].values()) / 60 / processes, 1),
        "machine": machine(),
        "threads": details["threads"],
        "torch": details["torch"],
        "xfm": origin["versions"]["xfm"],
        "commit": commit(),
        "weights_sha256": details["weights_sha256"],
    }
    scores = read_json_object(run / "metrics.json")
    for key, score in scores.items():
        found |= {f"{key}:{part}": score.get(part) for part in PARTS}
    if untrained:
        mark = read_json_object(untrained / "evaluation.json")["weights_sha256"]
        others = read_json_object(untrained / "metrics.json")
        begun = {key: one for key in scores if (one := others.get(key, {}).get("scratch")) is not None}
        if mark != details["weights_sha256"] or not begun:
            raise UserError(
                f"{untrained} has no scores from random weights beside those of the model of {run}; "
                "evaluate that model with baselines"
            )
        found |= {f"{key}:scratch": one for key, one in begun.items()}
    return found


def _told(start: dict[str, Any] | None) -> str:
    """The model that a run began with, in words; empty where it began with random weights."""
    return f"{start['recipe']}, seed {start['seed']}, {start['steps']:,} steps" if start else ""


def commit() -> str:
    """The commit of this checkout, with + where files were changed since; empty outside a repository."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return told.stdout.strip()


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a file of results, the oldest first; none where there is no file."""
    return list(csv.DictReader(io.StringIO(file.read_text()))) if file.exists() else []


def add_row(file: Path, row: dict[str, Any]) -> bool:
    """Append a row, whatever columns the others have. False where the same weights are there already."""
    rows: list[dict[str, Any]] = [*read_rows(file)]
    if any(one["weights_sha256"] == row["weights_sha256"] for one in rows):
        return False
    rows.append(row)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, as_csv(rows))
    return True


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The options of a benchmark that `write_outputs` reads."""
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--csv", type=Path, help="add the rows to this file, with machine, versions and date")


def write_outputs(options: argparse.Namespace, rows: Sequence[Mapping[str, Any]], device: str = "") -> None:
    """Rows of a benchmark where its options say; `device` is the machine, if that is not a CPU."""
    if options.json:
        write_text(options.json, json.dumps(rows, indent=1) + "\n")
    if options.csv:
        versions = torch.get_num_threads(), torch.__version__, time.strftime("%F"), commit()
        about = dict(zip(ABOUT, (device or machine(), *versions), strict=True))
        kept: list[dict[str, Any]] = [*read_rows(options.csv), *({**about, **row} for row in rows)]
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.csv, as_csv(kept))


def curve(run: Path) -> list[dict[str, str]]:
    """The losses of a run, a row for each step that was logged."""
    found = read_curves(run / LOG_FILE)
    if not found:
        raise UserError(f"{run} holds no {LOG_FILE}: give the folder of a run")
    rows: dict[float, dict[str, str]] = {}
    for name, (steps, values) in found.items():
        for step, value in zip(steps, values, strict=True):
            rows.setdefault(step, {"step": f"{int(step)}"})[name] = f"{value:.5g}"
    return [rows[step] for step in sorted(rows)]


def nouns_alone(key: str) -> str:
    """What `benchmarks/nouns.py` found for a retrieval score; empty for others."""
    found = re.match(r"retrieval/(\w+)/(\w+_r\d+)", key)
    rows = {row["split"]: row for row in read_rows(ROOT / "results" / "nouns.csv")}
    return rows[found[1]][found[2]] if found and found[1] in rows else ""


def table(run: dict[str, str], rows: dict[str, str], others: Sequence[dict[str, str]] = ()) -> str:
    """A run as a table in Markdown, and a line that says which run that is; with `others`, the lowest and
    highest scores of these stand beside its own. Runs that were evaluated before retrieval had a baseline
    have that of `nouns_alone`. `scratch` is the same fine-tuning from random weights, where it was run."""
    ranged = [f"all {len(others)} runs"] if others else []
    untrained = [run.get(f"{key}:scratch", "") for key in rows.values()]
    begun = ["scratch"] if any(untrained) else []
    floor = [*begun, "baseline", "chance", "n"]
    head = ["embedded world, test splits", f"`{run['recipe']}`", "95 %", *ranged, *floor]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for (label, key), scratch in zip(rows.items(), untrained, strict=True):
        value, low, high, chance, baseline, n = (run[f"{key}:{part}"] for part in PARTS[:-1])
        between = f"{100 * float(low):.1f} to {100 * float(high):.1f} %" if low else "-"
        known = (*([scratch] if begun else []), baseline or nouns_alone(key), chance)
        floors = [percent(float(one) if one else None) for one in known]
        scored = sorted(float(found) for row in others if (found := row.get(f"{key}:value")))
        spread = [_between([percent(one) for one in scored])] if others else []
        cells = [label, percent(float(value)), between, *spread, *floors, f"{int(n):,}"]
        lines.append("| " + " | ".join(cells) + " |")
    minutes = run["pretraining_minutes"]  # empty where the steps decided
    trained = f" in {float(minutes):.1f} minutes" if minutes else ""
    start = run.get("began_with") or "random weights"
    told = (
        f"`{run['recipe']}` from {start}, seed {run['seed']}: {int(run['steps']):,} "
        f"steps{trained}, evaluated in {float(run['evaluation_minutes']):.1f} minutes; "
        f"{run['machine']}; commit {run['commit']}, torch {run['torch']} "
        "([the row]({}))."
    )
    return "\n".join(lines) + "\n\n" + told


def photos_table(rows: list[dict[str, str]], shown: dict[str, str] = PHOTOS) -> str:
    """The scores of `results/photos.csv` as a table in Markdown."""
    own = {row["score"]: row for row in rows}
    lines = ["| held out | `photos` | 95 % | before its training | chance | n |", "|---" * 6 + "|"]
    for label, key in shown.items():
        row = own[key]
        between = f"{100 * float(row['low']):.1f} to {100 * float(row['high']):.1f} %" if row["low"] else "-"
        start, chance = (percent(float(row[part])) if row[part] else "-" for part in ("start", "chance"))
        cells = [label, percent(float(row["value"])), between, start, chance, f"{int(row['rows']):,}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n[All rows]({})."


def crossed_table(rows: list[dict[str, str]]) -> str:
    """Differences of arms by average in Markdown, with intervals that count seeds and cases."""
    averages, arms = (list(dict.fromkeys(row[name] for row in rows)) for name in ("average", "arm"))
    told = {(row["arm"], row["average"]): row for row in rows}
    lines = [f"| | {' | '.join(averages)} |", "|---" * (len(averages) + 1) + "|"]
    for arm in arms:
        cells: list[str] = []
        for average in averages:
            unit, digits = (1, 3) if "loss" in average else (100, 1)
            gain, low, high = (
                unit * float(told[arm, average][name]) for name in ("difference", "low", "high")
            )
            more = f"{gain:+.{digits}f}"
            more = f"**{more}**" if low > 0 or high < 0 else more
            cells.append(f"{more} ({low:+.{digits}f} to {high:+.{digits}f})")
        lines.append(f"| `{arm}` | {' | '.join(cells)} |")
    cases = ", ".join(f"{int(told[arms[0], one]['cases']):,}" for one in averages)
    seeds = f"Differences from `{rows[0]['against']}`; {rows[0]['seeds']} seeds"
    return "\n".join(lines) + f"\n\n{seeds}, by {cases} cases ([the rows]({{}}))."


def speed_table(rows: list[dict[str, str]]) -> str:
    """What a benchmark measured, as a table in Markdown, and a line with what is the same in all rows."""
    values = {name: list(dict.fromkeys(row[name] for row in rows)) for name in rows[0]}
    told = [name for name, own in values.items() if len(own) == 1]
    columns = [name for name in values if name not in told]
    lines = [f"| {' | '.join(columns).replace('_', ' ')} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_number(row[name]) for name in columns)} |" for row in rows]
    same = [f"{name.replace('_', ' ')} {_number(values[name][0])}" for name in told if any(values[name])]
    return "\n".join(lines) + f"\n\n{'; '.join(same)} ([the rows]({{}}))."


def _number(cell: str) -> str:
    """Three digits of a number that has a point; other cells as they are."""
    if not re.fullmatch(r"\d+(\.\d+)?", cell):
        return cell
    value = float(cell)
    return f"{value:,.0f}" if abs(value) >= 100 or "." not in cell else f"{value:#.3g}"


def _between(texts: Sequence[str]) -> str:
    first, last = texts[0], texts[-1]
    return first if first == last else f"{first.removesuffix(' %')} to {last}"


def averages_table(rows: list[dict[str, str]]) -> str:
    """The averages of an ablation in Markdown, and a line that says what its runs are."""
    told = {name: sorted({row[name] for row in rows}) for name in ("recipe", "seed", "steps", "machine")}
    what = f"{len(rows)} runs of `{' '.join(told['recipe'])}`, seeds {', '.join(told['seed'])}"
    where = f"{' or '.join(told['steps'])} steps; {'; '.join(told['machine'])}"
    return f"{average_table(scored_runs(rows))}\n\n{what}, {where} ([the rows]({{}}))."


WRITERS = {
    "averages": averages_table,
    "photos": photos_table,
    "photos-short": partial(photos_table, shown=PHOTOS_SHORT),
    "crossed": crossed_table,
    "speed": speed_table,
}
"""What makes a table of the rows of a file; scores need their page's rows, too."""


def due() -> dict[Path, str]:
    """What the pages should hold."""
    found = {}
    for page, rows in TABLES.items():
        path = ROOT / page
        up = "../" * page.count("/")

        def written(mark: re.Match[str], rows: dict[str, str] = rows, up: str = up) -> str:
            files = {one: read_rows(one) for one in sorted(ROOT.glob(mark["file"]))}
            found, file = [row for own in files.values() for row in own], mark["file"]
            if mark["kind"] == "scores":
                made = table(found[-1], rows)
            elif mark["kind"] == "median":
                run = sorted(found, key=lambda row: float(row[MEDIAN]))[(len(found) - 1) // 2]
                file = next(str(one.relative_to(ROOT)) for one, own in files.items() if run in own)
                made = f"{table(run, rows, found)} Of the {len(found)} runs it has the median of relations."
            else:
                made = WRITERS[mark["kind"]](found)
            return f"{mark['begins']}{made.format(up + file)}\n{mark['ends']}"

        found[path] = MARKS.sub(written, path.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    keeping = verbs.add_parser("record", help="keep a run as a row of a CSV file")
    keeping.add_argument("run", type=Path, help="a run folder with evaluation.json and metrics.json")
    keeping.add_argument("file", type=Path, help="the CSV file")
    keeping.add_argument("--untrained", type=Path, help="an evaluation of the same weights with baselines")
    drawing = verbs.add_parser("curve", help="keep the losses of a run as a CSV file")
    drawing.add_argument("run", type=Path, help="a run folder with log.jsonl")
    drawing.add_argument("file", type=Path, help="the CSV file, which is replaced")
    verbs.add_parser("tables", help="write the tables of the documentation anew")
    given = parser.parse_args()
    if given.verb == "tables":
        for path, text in due().items():
            write_text(path, text)
        return
    try:
        if given.verb == "curve":
            given.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(given.file, as_csv(curve(given.run)))
            return
        added = add_row(given.file, row_of(given.run, given.untrained))
    except UserError as error:
        parser.exit(2, f"{error}\n")
    if added:
        print(f"{given.file} has the run {given.run}")
    else:
        print(f"{given.file} had the run {given.run} already: nothing was written")


if __name__ == "__main__":
    main()
