"""Answers for whole files: rows in, JSON lines out, resumable. Nothing heavy is imported here."""
