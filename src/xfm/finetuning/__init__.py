"""Fine-tuning on own data: from a table to a model with scores and a report."""
