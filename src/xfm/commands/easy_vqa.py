"""`xfm easy-vqa`: its options, and what it says."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.config.bad_rows import add_max_bad

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm easy-vqa`."""
    from xfm.config.options import new_parser

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
    parser.add_argument(
        "--model", type=str, default="runs/quickstart/model", help="folder of a pre-trained model"
    )
    parser.add_argument("--out", type=str, default="runs/easy-vqa", help="run folder")
    parser.add_argument("--minutes", type=float, default=14.0, help="for everything; decides the steps")
    parser.add_argument("--data", type=str, default=None, help="folder of the files, if not the package's")
    parser.add_argument("--steps", type=int, default=0, help="optimiser steps instead; 0 takes what fits")
    parser.add_argument("--resume", action="store_true", help="continue the run in the out folder exactly")
    add_max_bad(parser)
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def run(chosen: "Namespace") -> None:
    """Fine-tune on easy-VQA and show the scores."""
    from xfm.reports.summary import score_table
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
    print(f"{score_table(found.scores)}\nReport:  {out / 'report.html'}\nModel:   {found.model}")
    if found.left_out:
        print(f"Note:    {found.left_out}")
