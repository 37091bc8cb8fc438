"""`xfm reproduce`: its options, and what it says."""

from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import add_max_bad, option, shared
from xfm.config.options import ArgumentParser, Namespace, names_in, new_parser
from xfm.config.typed import build


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        usage="xfm reproduce [BENCHMARK ...] [--list] [--model MODEL --data FOLDER] [--out FOLDER] [--smoke]",
        description="Without a model: print the published results, beside them ours where --out has any.\n"
        "With one: run every benchmark whose official files are below the data folder (or those that are\n"
        "named), fine-tuned (FT), on frozen features (LE) and without training (ZS), by the rules of X-FM's\n"
        "code (published) and as the field does today (recommended). What is finished is skipped.",
        examples="  xfm reproduce                                        the published table\n"
        "  xfm reproduce --list --data /data                    what belongs where, and what is there\n"
        "  xfm reproduce glue --model M --data /data            all of GLUE, and the files for its server\n"
        "  xfm reproduce nlvr2 --model M --data /data --set settings.batch_size=4",
    )
    parser.add_argument("benchmarks", type=str, nargs="*", metavar="BENCHMARK", help="see --list")
    option(parser, "--list", "what belongs where in the data folder", False)
    option(parser, "--model", "folder of the model, its name on the hub, or a published file")
    option(parser, "--data", "folder of the official files", "data")
    option(parser, "--out", "folder for results and runs", "runs/reproduce")
    option(parser, "--protocols", "FT, LE, ZS or several: FT,ZS; all if not given", "")
    option(parser, "--editions", "by whose rules: published, recommended; both if not given", "")
    option(parser, "--smoke", "few rows and steps, to try the path", False)
    option(parser, "--set", "change recipes: settings.lr=1e-5,epochs=3 (see src/xfm/recipes/finetune)", "")
    add_max_bad(parser)
    shared(parser, "--device", "--quiet")
    return parser


def run(chosen: Namespace) -> None:
    names: list[str] = list(chosen.benchmarks or [])
    if chosen.list:
        print(_listing(Path(chosen.data), names))
        return
    if chosen.model is not None:
        from xfm.config.benchmark import Edition
        from xfm.evaluation.benchmarks.jobs import find_jobs, run_jobs
        from xfm.evaluation.benchmarks.published import Protocol

        changes = [f"--{change}" for change in names_in(chosen.set)]
        protocols = [build(Protocol, one, name="--protocols") for one in names_in(chosen.protocols.upper())]
        editions = [build(Edition, one, name="--editions") for one in names_in(chosen.editions.lower())]
        editions = editions or [*Edition]
        data = Path(chosen.data)
        jobs = find_jobs(data, names, protocols, changes, chosen.smoke, editions)
        print(f"To run: {', '.join(job.name for job in jobs)}", flush=True)
        how = {"smoke": chosen.smoke, "device": chosen.device, "max_bad": chosen.max_bad}
        run_jobs(jobs, chosen.model, data, Path(chosen.out), progress=not chosen.quiet, **how)
    if names:  # the whole table needs nothing of what they import
        from xfm.evaluation.benchmarks.registry import known_names

        names = known_names(names)
    from xfm.evaluation.benchmarks.published import as_markdown, left_out_notes, read_all, table_lines

    ours = {key: score.value for key, score in read_all(Path(chosen.out)).items()}
    print(as_markdown(table_lines(ours, names)))
    print("In per cent. FT fine-tuned, LE linear evaluation, ZS zero-shot; X-FM base, arXiv 2301.05065.")
    for note in left_out_notes(Path(chosen.out)):
        print(f"{note}.")
    if chosen.model is not None:
        print(f"Every score is in {chosen.out}/BENCHMARK/PROTOCOL/EDITION/official.json.")


def _listing(data: Path, names: Sequence[str]) -> str:
    from xfm.evaluation.benchmarks.registry import BENCHMARKS, known_names

    names = known_names(names)
    shown = [benchmark for name, benchmark in BENCHMARKS.items() if not names or name in names]
    width = max(len(benchmark.name) for benchmark in shown)
    lines = [f"Below {data}:"]
    for benchmark in shown:
        mark = "there  " if benchmark.is_there(data) else "missing"
        protocols = "/".join(protocol.value for protocol in benchmark.protocols)
        lines.append(f"  {benchmark.name:<{width}}  {mark}  {protocols:<8}  {benchmark.layout}")
    return "\n".join(lines)
