"""Ablations: a recipe and its variants trained and scored alike, compared seed by seed."""
