"""Rows answered in units of work, which processes and machines share. Nothing heavy is imported here."""
