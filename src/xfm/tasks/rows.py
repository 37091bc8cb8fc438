"""Typed rows of the task files (JSON lines; image paths are relative to the file)."""
