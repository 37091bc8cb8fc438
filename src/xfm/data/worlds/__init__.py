"""Embedded worlds: generated corpora with exact annotations, in the project's ordinary formats on disk."""
