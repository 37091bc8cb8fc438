"""Checkpoints of the published X-FM code: key names, sizes, reading, writing, a report of what was used."""
