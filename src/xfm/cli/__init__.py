"""The verbs of the command line, a module each: `parser` builds its options, `run` does the work."""
