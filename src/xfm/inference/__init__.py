"""Using a model: pipelines, vectors, predictions for whole files, boxes and attention drawn on pictures."""
