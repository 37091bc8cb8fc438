"""From files to batches: sources on disk, tables, pictures, transforms, masks."""
