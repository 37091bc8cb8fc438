"""Readers of corpora in the layouts in which they are published: a short module each, of typed records."""
