"""What batches of tokens (`data.text.tokens`) change: padding, and how even the tokens of a step are.

    python -m benchmarks.tokens [nano] --root worlds/emoji [--tokens 2048] [--steps 500] [--json tokens.json]

Batches of the recipe's text are drawn twice by the real loader: so many texts each, as many as a budget of
tokens holds on average, and with the budget. Of both: the share of places that is padding, the mean number of
tokens with and without it, its standard deviation and largest value, and texts a step. Nothing is trained.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xfm.config.data import DataConfig
from xfm.config.load import load_recipe
from xfm.data.loader import PretrainingData


def drawn(config: DataConfig, steps: int) -> dict[str, Any]:
    """Figures of the batches of some steps."""
    began = time.perf_counter()
    data = PretrainingData(config, 32, 16, seed=0)
    opened = time.perf_counter() - began
    found = []
    for batch in data.batches(0, steps):
        assert batch.text is not None
        mask = batch.text.tokens.mask
        found.append((mask.numel(), int(mask.sum()), len(mask)))
    places, tokens, rows = np.array(found, np.float64).T
    return {
        "opened_s": opened,
        "padding": 1 - tokens.sum() / places.sum(),
        "places": places.mean(),
        "places_deviation": places.std() / places.mean(),
        "places_largest": places.max(),
        "tokens": tokens.mean(),
        "tokens_deviation": tokens.std() / tokens.mean(),
        "rows": rows.mean(),
        "rows_range": [int(rows.min()), int(rows.max())],
    }


def main() -> None:
    """Draw, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="nano")
    parser.add_argument("--root", required=True)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    recipe = load_recipe(words.recipe, ["--root", words.root])
    whole = recipe.phases()[-1].data
    none = {name: replace(stream, batch_size=0) for name, stream in whole.streams.items()}
    alone = replace(whole, **{**none, "text": replace(whole.text, tokens=words.tokens)}, workers=0)
    budgeted = drawn(alone, words.steps)
    size = round(budgeted["rows"])
    fixed = drawn(replace(alone, text=replace(whole.text, tokens=0, batch_size=size)), words.steps)
    for name, figures in ((f"batch_size {size}", fixed), (f"tokens {words.tokens}", budgeted)):
        print(
            f"{name:16} padding {figures['padding']:.1%}; places {figures['places']:.0f}"
            f" +- {figures['places_deviation']:.1%}, largest {figures['places_largest']:.0f}; tokens"
            f" {figures['tokens']:.0f} +- {figures['tokens_deviation']:.1%}; texts {figures['rows']:.1f}"
            f" {figures['rows_range']}; opened in {figures['opened_s']:.2f} s"
        )
    if words.json:
        words.json.write_text(json.dumps({"fixed": fixed, "tokens": budgeted}, indent=2) + "\n")


if __name__ == "__main__":
    main()
