"""Scores and what becomes of them: files of results, tables, charts and pages."""
