"""`xfm easy-vqa`: its options, and what it says."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from xfm.commands._options import option
from xfm.config.bad_rows import add_max_bad
from xfm.config.options import new_parser


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm easy-vqa`."""
    parser = new_parser(
        words=["model"],
        prog="xfm easy-vqa",
        usage="xfm easy-vqa [--model MODEL] [--out FOLDER] [--minutes MINUTES]",
        description="Fine-tune a model on easy-VQA's official split (4,000 pictures with 38,575 questions),\n"
        "in the time that there is, and score it on the 9,673 test questions beside the same\n"
        "fine-tuning without pictures. Needs the data: pip install easy-vqa.",
        epilog="examples:\n"
        "  xfm easy-vqa --model runs/quickstart/model\n"
        "  xfm easy-vqa --model runs/quickstart/model --minutes 30 --out runs/longer",
    )
    option(parser, "--model", "folder of a pre-trained model", "runs/quickstart/model")
    option(parser, "--out", "run folder", "runs/easy-vqa")
    option(parser, "--minutes", "for everything; decides the steps", 14.0)
    option(parser, "--data", "folder of the files, if not the package's")
    option(parser, "--steps", "optimiser steps instead; 0 takes what fits", 0)
    option(parser, "--resume")
    add_max_bad(parser)
    option(parser, "--device")
    option(parser, "--quiet")
    return parser


def run(chosen: Namespace) -> None:
    """Fine-tune on easy-VQA and show the scores."""
    from xfm.reports.summary import table
    from xfm.reproduce.easy_vqa import run_easy_vqa

    out, data = Path(chosen.out), None if chosen.data is None else Path(chosen.data)
    found = run_easy_vqa(
        chosen.model,
        out,
        chosen.minutes,
        data,
        steps=chosen.steps,
        resume=chosen.resume,
        device=chosen.device,
        progress=not chosen.quiet,
        max_bad=chosen.max_bad,
    )
    print(
        f"{table(found.scores, list(found.scores))}\nReport:  {out / 'report.html'}\nModel:   {found.model}"
    )
    if found.left_out:
        print(f"Note:    {found.left_out}")
