"""All situations."""

from tests.hostile import areas_first

SITUATIONS = [*areas_first.SITUATIONS]
