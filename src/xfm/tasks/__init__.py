"""Fine-tuning tasks: one file a task, each with its data columns, head, loss, prediction and metric."""
