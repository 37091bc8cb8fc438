"""Data: sources on disk, transforms, masks, batches. Nothing heavy is imported here."""
