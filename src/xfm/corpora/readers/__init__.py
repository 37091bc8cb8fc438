"""Readers of corpora in their published layouts."""
