"""Captions cut into words without Java, in the manner of the Penn Treebank.

Stanford's PTBTokenizer, which the COCO server runs, is a large automaton; this is the part of it that
captions need. Lower case; possessives and contractions stand apart (`dog 's`, `do n't`); hyphens, numbers
with commas or colons and abbreviations stay whole; punctuation is dropped as the official script drops it.
"""

_DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
