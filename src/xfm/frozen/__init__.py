"""Evaluation of frozen picture features: cached once, then a linear probe, the published head, neighbours."""
