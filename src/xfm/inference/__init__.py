"""Using a model: pipelines, predictions for whole files, boxes and attention drawn on pictures."""
