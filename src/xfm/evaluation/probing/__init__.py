"""Evaluation of frozen picture features: cached once, then a linear probe, neighbours, or prompts."""
