from pathlib import Path

import yaml


def write(path: Path, **fields: object) -> str:
    """A recipe's file of some fields."""
    path.write_text(yaml.safe_dump(fields))
    return str(path)
