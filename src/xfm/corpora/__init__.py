"""Corpora for pre-training: from the files that they are published in to checked shards with a manifest."""
