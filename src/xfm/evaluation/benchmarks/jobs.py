"""Running benchmarks: one folder each, skipped when finished, resumed when not."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from xfm.config.benchmark import (
    SMOKE_TEST_ROWS,
    SMOKE_TRAIN_ROWS,
    BenchmarkRecipe,
    Edition,
    benchmark_recipes,
    load_benchmark,
)
from xfm.config.options import parse
from xfm.config.plain import to_plain
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError, printable
from xfm.core.locks import holds
from xfm.core.results_folder import ResultOrigin, model_mark, require_free, sign
from xfm.data.skipped import BAD_FILE, SkippedRecords
from xfm.evaluation.benchmarks.composition import evaluate_composition
from xfm.evaluation.benchmarks.evaluations import (
    JobResult,
    JobSetting,
    evaluate_fine_tuned,
    evaluate_on_features,
    evaluate_zero_shot_retrieval,
    start_after_domain,
)
from xfm.evaluation.benchmarks.published import (
    DETAILS,
    LEFT_OUT,
    OFFICIAL,
    Protocol,
    as_markdown,
    left_out_notes,
    read_all,
    table_lines,
)
from xfm.evaluation.benchmarks.registry import BENCHMARKS, Benchmark, names_with_files, recipe_of
from xfm.models.resolve import model_folder
from xfm.reports.scores import Score, write_json, write_output, write_scores

TABLE = "results.md"


@dataclass(frozen=True)
class Job:
    """An evaluation of a model on a benchmark; its name begins the keys of its scores and is its folder."""

    benchmark: Benchmark
    protocol: Protocol
    edition: Edition
    recipe: BenchmarkRecipe

    @property
    def name(self) -> str:
        """`BENCHMARK/PROTOCOL/EDITION`."""
        return f"{self.benchmark.name}/{self.protocol.value}/{self.edition.value}"


def find_jobs(
    data: Path,
    names: Sequence[str] = (),
    protocols: Sequence[Protocol] = (),
    options: Sequence[str] = (),
    smoke: bool = False,
    editions: Sequence[Edition] = tuple(Edition),
) -> list[Job]:
    """The evaluations whose official files are in the data folder; empty `names` or `protocols` mean all.
    `options` are dotted options of the recipes, `["--settings.lr", "1e-5"]`. UserError for an unknown
    benchmark, missing files, or nothing to run."""
    names = names_with_files(names, data)
    jobs: list[Job] = []
    for name, benchmark in BENCHMARKS.items():
        if (names and name not in names) or not benchmark.is_there(data):
            continue
        for protocol in benchmark.protocols:
            if protocol is Protocol.ZERO_SHOT and benchmark.names(data) is None:
                continue  # prompts need the names of the classes
            for edition in benchmark.editions(protocol):
                if edition in editions and (not protocols or protocol in protocols):
                    found = recipe_of(name, protocol)
                    if found in benchmark_recipes(edition):
                        recipe = load_benchmark(found, options, edition)
                    else:
                        values = {"name": name, "benchmark": name, "settings": {"baseline": False}}
                        recipe = parse(BenchmarkRecipe, options, values=values, source="the options")
                    if recipe.test_words and not task_spec(benchmark.kind).reads("max_words"):
                        raise UserError(f"test_words is of no use in {name}: leave it out, or name others")
                    jobs.append(Job(benchmark, protocol, edition, recipe.small() if smoke else recipe))
    if not jobs:
        raise UserError(
            f"{data} holds the files of no benchmark that was asked for; `xfm reproduce --list` says what "
            "belongs where"
        )
    return jobs


@holds("out")
def run_jobs(
    jobs: Sequence[Job],
    model: str,
    data: Path,
    out: Path,
    *,
    smoke: bool = False,
    device: str = "auto",
    progress: bool = True,
    max_bad: int | None = None,
) -> dict[str, Score]:
    """Run unfinished jobs, and write `results.md` after each; all scores in `out` by `Job.name/split/metric`.
    `max_bad` is the number of rows with an unreadable picture that each evaluation may leave out. Interrupted
    on SIGINT or SIGTERM: the same call continues."""
    model = str(model_folder(model))
    if not (mark := model_mark(Path(model))):
        raise UserError(
            f"{model} holds no model; give --model the folder of one, such as runs/quickstart/model"
        )
    maker = ResultOrigin("reproduce", {"model": mark, "number of rows": "few" if smoke else "all"}, model)
    require_free(out, maker)
    sign(out, maker)
    _write_table(out)
    for job in jobs:
        folder = out / job.name
        if (folder / OFFICIAL).is_file():
            continue
        began = time.perf_counter()
        left_out = SkippedRecords(max_bad)
        found = _run(job, JobSetting(model, data, folder, job.recipe, smoke, device, progress, left_out))
        scores = {f"{job.name}/{key}": score for key, score in found.scores.items()}
        details = {
            "recipe": to_plain(job.recipe),
            "seconds": round(time.perf_counter() - began, 1),
            "submissions": [str(path) for path in found.submissions],
            **found.details,
            LEFT_OUT: left_out.plain(),
        }
        left_out.write(folder)
        write_json(folder / DETAILS, details)
        write_scores(folder / OFFICIAL, scores)  # last: it says that the job is finished
        _write_table(out)
        if progress:
            first = [(key.split("/", 3)[3], score.value) for key, score in list(scores.items())[:4]]
            print(f"{job.name}: " + ", ".join(f"{name} {value:.3f}" for name, value in first), flush=True)
        for path in found.submissions:
            print(f"{job.name}: for the server: {path}", flush=True)
        if said := left_out.sentence(folder / BAD_FILE):
            print(f"{job.name}: {said}", flush=True)
    return read_all(out)


def _run(job: Job, setting: JobSetting) -> JobResult:
    published = job.benchmark.published if job.edition is Edition.PUBLISHED else None
    corpus = (published or job.benchmark.read)(setting.data)
    if setting.smoke:
        corpus = corpus.thinned(SMOKE_TRAIN_ROWS, SMOKE_TEST_ROWS)
    setting, said = start_after_domain(job.benchmark, job.edition, setting)
    notes = {**corpus.notes, **({"domain": said} if said else {})}
    for note in notes.values():  # they stand in the details, too, and hours lie between
        print(printable(f"{job.name}: {note}"), flush=True)
    left_out, absent = setting.left_out, len(corpus.left_out)
    for place, reason in corpus.left_out.items():
        left_out.note(place, reason)
    left_out.check()
    if absent:
        left_out.count("train", "train", len(corpus.train) + absent, absent)
    evaluation: Callable[[Benchmark, Any, JobSetting], JobResult] = evaluate_fine_tuned
    if job.protocol is Protocol.ZERO_SHOT:
        by_prompts = partial(evaluate_on_features, by_prompts=True)
        evaluation = evaluate_zero_shot_retrieval if job.benchmark.score is None else by_prompts
        evaluation = evaluate_composition if job.benchmark.composed else evaluation
    elif job.protocol is Protocol.LINEAR and job.edition is Edition.RECOMMENDED:
        evaluation = evaluate_on_features  # the published head learns on varied pictures
    found = evaluation(job.benchmark, corpus, setting)
    return replace(found, details={**notes, **found.details})


def _write_table(out: Path) -> None:
    ours = {key: score.value for key, score in read_all(out).items()}
    notes = "".join(f"\n{note}\n" for note in left_out_notes(out))
    write_output(out / TABLE, as_markdown(table_lines(ours)) + notes)
