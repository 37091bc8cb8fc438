"""`xfm search`: its options, and how answers are printed."""

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from xfm.cli._options import add_max_bad, option, shared
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, new_parser
from xfm.config.pipelines import NEARLY_ALIKE, SearchOptions
from xfm.core.errors import UserError, amount, printable
from xfm.core.results_folder import free_name
from xfm.models.shipped import DEFAULT, model_or_default

if TYPE_CHECKING:
    from xfm.search.index import Index
    from xfm.search.searching import Answer


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["index", "text"],
        usage="xfm search FOLDER TEXT [--image FILE] [--where CONDITION] [--OPTION VALUE ...]",
        description="Find pictures by a text, a picture, or both. FOLDER is a collection (`xfm index\n"
        "build`), or a folder of pictures: that becomes one at first, and only what is new is read later.\n"
        "The fusion encoder looks at the nearest again, and says how well the text fits, and where.\n"
        "TEXT may join terms and pictures by ` + ` and ` - `, and keeps a text in double quotes whole.",
        examples="  xfm search runs/shop 'a red hat' --where 'price<20' --where kind=hat,cap\n"
        "  xfm search runs/photos 'like-this.jpg + 2 * night - cars' --top-k 3\n"
        "  xfm search runs/photos 'a dog' --draw found/ --json\n"
        "  xfm search runs/photos --duplicates",
    )
    option(parser, "--index", "folder of a collection, or of pictures", required=True)
    option(parser, "--text", "what is to be found")
    option(parser, "--image", "a picture that the found ones should be like")
    option(
        parser, "--model", f"model for a folder that is searched for the first time; {DEFAULT} if not given"
    )
    add_fields(parser, SearchOptions)
    parser.repeated = frozenset({"where"})  # whose commas are those of values
    option(parser, "--duplicates", "groups of pictures that are nearly alike; nothing is removed", False)
    least = f"cosine of --duplicates from which pictures are alike; {NEARLY_ALIKE} if not given"
    option(parser, "--min-similarity", least, type=float)
    option(parser, "--json", "print the answer as JSON", False)
    option(parser, "--draw", "folder for the found pictures, each with the box of what was searched")
    add_max_bad(parser, "pictures that cannot be read")
    shared(parser, "--device", "--quiet")
    return parser


def run(chosen: Namespace) -> None:
    options = assemble(SearchOptions, chosen)
    from xfm.search.filters import parse_condition

    for one in options.where:
        parse_condition(one)
    if chosen.duplicates:
        return _print_duplicates(chosen, options)
    if chosen.min_similarity is not None:
        raise UserError("--min-similarity goes with --duplicates; a search by a text has --min-score")
    if chosen.text is None and chosen.image is None:
        raise UserError("a search needs a text, or a picture by --image")
    draw = None if chosen.draw is None else Path(chosen.draw)
    if draw is not None and draw.exists() and (not draw.is_dir() or any(draw.iterdir())):
        raise UserError(f"--draw {draw} holds something: name another folder, such as {free_name(draw)}")
    from xfm.inference.input_parsing import read_original
    from xfm.search.searching import Searcher, searched_text
    from xfm.search.terms import parse_terms

    terms = [] if chosen.text is None else parse_terms(searched_text(chosen.text))
    texts = [(weight, one) for weight, one in terms if isinstance(one, str)]
    if terms and terms != [(1.0, chosen.text)]:
        shown = " ".join(f"{weight:+g} * {one}" for weight, one in terms)
        less = "" if [weight > 0 for weight, _ in texts] in ([], [True]) else ", without re-ranking by a text"
        print(f"Note: searched for {printable(shown)}{less}", file=sys.stderr)
    terms += [] if chosen.image is None else [(1.0, Path(chosen.image))]
    for picture in (one for _, one in terms if isinstance(one, Path)):
        read_original(picture)
    with _opened(chosen) as index:
        answer = Searcher(index).search(terms, options=options)
    if chosen.json:
        print(json.dumps(asdict(answer), indent=1))
    else:
        _print(answer, chosen.text)
    if draw is not None:
        from xfm.inference.drawing import draw_boxes

        drawn = 0
        draw.mkdir(parents=True, exist_ok=True)
        for number, hit in enumerate(answer.hits, start=1):
            source = Path(hit["source"])
            if "box" in hit and source.is_file():
                located = {"label": texts[0][1], "box": hit["box"], "score": hit.get("match")}
                draw_boxes(source, [located]).save(draw / f"{number:02}.png")
                drawn += 1
        left = len(answer.hits) - drawn
        less = f" {amount(left, 'has', 'have')} no file or no box." if left else ""
        print(f"{amount(drawn, 'picture with a box is', 'pictures with boxes are')} in {draw}.{less}")


def _print_duplicates(chosen: Namespace, options: SearchOptions) -> None:
    least = NEARLY_ALIKE if chosen.min_similarity is None else chosen.min_similarity
    if not 0 < least <= 1:
        raise UserError(f"--min-similarity is a cosine above 0 and at most 1, not {least:g}")
    asked = chosen.text, chosen.image, chosen.draw, replace(options, where=[])
    if asked != (None, None, None, SearchOptions()):
        raise UserError("--duplicates goes with --min-similarity, --where and --json; leave out the rest")
    from xfm.search.duplicates import duplicate_groups

    with _opened(chosen) as index:
        groups = duplicate_groups(index, least, options.where, not chosen.quiet)
    if chosen.json:
        return print(json.dumps(groups, indent=1))
    for number, group in enumerate(groups, start=1):
        for hit in group:
            found = f"cosine {hit['similarity']:.3f}  {hit['width']} x {hit['height']}  {hit['source']}"
            print(f"{number:3}.  {printable(found)}")
    more = amount(sum(map(len, groups)) - len(groups), "picture")
    like = f"with a cosine of {least:g} or more with the first, the largest, of its group"
    print(f"{amount(len(groups), 'group')}: {more} {like}. Nothing was removed.")


def _opened(chosen: Namespace) -> "AbstractContextManager[Index]":
    from xfm.data.skipped import SkippedRecords
    from xfm.search.ingest import folder_index, is_index
    from xfm.search.journal import HIDDEN
    from xfm.search.opening import open_index

    folder = Path(chosen.index)
    if is_index(folder):
        if chosen.max_bad is not None:
            raise UserError(f"--max-bad is for folders of pictures; {folder} is a collection: leave it out")
        return open_index(folder, chosen.model, writing=False, device=chosen.device)
    if not folder.is_dir():
        raise UserError(f"{folder} is neither a collection nor a folder of pictures; check the path")
    model = chosen.model if is_index(folder / HIDDEN) else model_or_default(chosen.model)
    return folder_index(folder, model, SkippedRecords(chosen.max_bad), not chosen.quiet, device=chosen.device)


def _print(answer: "Answer", text: str | None) -> None:
    if answer.fits is False:
        sure = ""
        if answer.best is not None:
            what = "That something fits is" if answer.fitted else "The best fits with"
            sure = f" {what} {answer.best:.0%}, less than {answer.min_score:.0%}"
            sure += "." if answer.fitted else "; that is no measure of this model: `xfm evaluate` fits one."
        near = " The nearest all the same:" if answer.hits else ""
        among = amount(answer.searched, "picture")
        print(f"Nothing found among {among} for {printable(text or '')!r}.{sure}{near}")
    for number, hit in enumerate(answer.hits, start=1):
        match = f"  fits {hit['match']:4.0%}  cosine {hit['similarity']:5.2f}" if "match" in hit else ""
        own = {name: value for name, value in hit["metadata"].items() if str(value) not in hit["source"]}
        told = "".join(f"  {name}={printable(str(value))}" for name, value in own.items())
        print(f"{number:3}.  score {hit['score']:6.2f}{match}  {printable(hit['source'])}{told}")
    if answer.limits:
        told = shorten(printable(answer.limits), 320, placeholder=" ... (its card has the rest)")
        print(f"What the model knows: {told}")
