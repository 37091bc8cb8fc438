"""`xfm finetune`: its options, and what it says."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import option, shared
from xfm.config.finetune import FinetuneConfig
from xfm.config.finetune_file import RESOLVED, read_finetune
from xfm.config.next_command import command_line
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, new_parser
from xfm.config.tables import LISTED
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_specs
from xfm.core.paths import home_path
from xfm.core.results_folder import free_name


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm finetune`; their defaults are the values of the file that the options name."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config", nargs="?", default=os.environ.get("XFM_FINETUNE_CONFIG"))
    path = first.parse_known_args(options)[0].config
    told, values = ({}, {}) if path is None else read_finetune(home_path(path))
    dry = any(one.partition("=")[0] in ("--dry-run", "--dry_run") for one in options)
    specs = task_specs(tunable=True)
    width = max(len(spec.name) for spec in specs)
    listed = "\n".join(f"  {spec.name:<{width}}  {fields_of(spec)}" for spec in specs)
    parser = new_parser(
        words=["task", "model"],
        usage="xfm finetune TASK --model MODEL --train FILE --out FOLDER [--validation FILE]\n"
        "                    [--test FILE] [--columns FIELD=COLUMN,...] [--preset fast] [--FIELD VALUE ...]",
        description="Fine-tune a model on your own rows. The out folder gets the model, metrics.json and\n"
        "report.html; Ctrl-C saves, --resume continues.\n\n"
        f"tasks and the fields that they read (optional ones in brackets):\n{listed}\n\n"
        f"A table is a file ({LISTED}),\n"
        "a folder with a folder of pictures a class, or\n"
        "hub:OWNER/NAME[:CONFIG][@SPLIT]. Paths of pictures start from the table's folder.",
        examples="  xfm finetune text-classification --model runs/quickstart/model --train reviews.csv "
        "--out runs/r\n"
        "  xfm finetune vqa --model M --train my.jsonl --columns question=q,answer=a --out runs/q\n"
        "  xfm finetune text-classification --model M --train t.csv --dry-run   the plan, and minutes\n"
        "  xfm finetune --config runs/r/finetune.yaml --seed 1 --out runs/r1    a run again, with a change\n"
        "  xfm finetune image-classification --model M --train photos/ --tune.vision lora --out runs/p\n"
        "  xfm finetune vqa --model M --train my.jsonl --interpolate 0.25,0.5,0.75 --out runs/w\n"
        "  torchrun --nproc-per-node 8 -m xfm finetune vqa --model M --train my.jsonl --out runs/q\n"
        "  XFM_FINETUNE_SEED=1 xfm finetune ...        any option from the environment",
    )
    option(parser, "--config", "YAML file with these options and fields; what else is given goes before it")
    for name, (meaning, needed) in _TOLD.items():
        required = needed and name not in told and not (dry and name == "out")
        option(parser, f"--{name}", meaning, told.get(name), required=required)
    option(parser, "--dry-run", "show the plan and the minutes that it takes, and write nothing", False)
    option(parser, "--push-to-hub", "owner/name on the hub, private if new, for the finished model")
    shared(parser, "--resume", "--quiet")
    add_fields(parser, FinetuneConfig, values=values, source=f"--config {path}")
    return parser


_TOLD = {
    "task": ("one of the above", True),
    "model": ("", True),
    "train": ("table with the training rows", True),
    "validation": ("validation rows; a share of the training rows if not given", False),
    "test": ("test rows; likewise if --validation is not given", False),
    "out": ("folder for model, scores, report and logs", True),
    "columns": ("", False),
    "pictures": ("", False),
}
"""What the command is told besides the settings: its meaning, and whether it must be there."""


def fields_of(spec: "TaskSpec") -> str:
    """The fields of a task's rows, as help writes them: with their other names, optional ones in brackets."""
    said = {" or ".join([*one.names, *filter(None, [" and ".join(one.parts)])]): one for one in spec.fields}
    return ", ".join(f"[{name}]" if one.optional else name for name, one in said.items())


def run(chosen: Namespace) -> None:
    config = assemble(FinetuneConfig, chosen)
    from xfm.finetuning.finetune import check_upload, upload

    if chosen.push_to_hub is not None:
        check_upload(chosen.push_to_hub, config)
    told = {name: getattr(chosen, name) for name in ("test", "columns", "pictures")}
    told |= {"valid": chosen.validation, "config": config, "progress": not chosen.quiet}
    if chosen.dry_run:
        from xfm.finetuning.finetune import dry_run

        folder = None if chosen.out is None else Path(chosen.out)
        return print(dry_run(chosen.task, chosen.model, chosen.train, folder, **told))
    from xfm.core.files import folder_size
    from xfm.finetuning.finetune import finetune
    from xfm.finetuning.report import REPORT
    from xfm.models.adapters import is_adapter
    from xfm.reports.page import table
    from xfm.training.flags import last_lines

    out = Path(chosen.out)
    done = finetune(chosen.task, chosen.model, chosen.train, out, resume=chosen.resume, **told)
    if os.environ.get("RANK", "0") != "0":  # the first process says it
        return
    print(table(done.scores, list(done.scores)))
    apart = ""
    if is_adapter(done.model):
        merge = command_line("export", done.model, done.model.with_name("merged"), format="merged")
        size = folder_size(done.model)
        apart = f", an adapter of {size:,} bytes over {chosen.model}; `{merge}` makes a whole model"
    print(f"Model:   {done.model}{apart}")
    report = f"Report:  {out / REPORT}\n" if (out / REPORT).exists() else ""  # it needs the extra `report`
    print(f"{report}Scores:  {out / 'metrics.json'}")
    if done.left_out:
        print(f"Note:    {done.left_out}")
    if done.tuned.weights:
        print(f"Weights: {done.tuned.weights}")
    print(f"Cost:    {done.tuned.cost}")
    print(f"Again:   {command_line('finetune', config=out / RESOLVED, out=free_name(out))}")
    print(f"Use it:  {done.next_command}")
    print(last_lines(done.flags), end="")
    if done.verdict:
        print(f"Verdict: {done.verdict}.")
    if chosen.push_to_hub is not None:  # last: what was said above holds whatever the hub does
        print(f"Hub:     {upload(done, chosen.push_to_hub)}")
