"""Strong simple baselines of every kind of task, on the rows of a fine-tuning."""
