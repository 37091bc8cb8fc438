"""Evaluation of frozen picture features: a linear probe, neighbours, or prompts."""
