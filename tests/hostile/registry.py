"""All situations, by area."""

from tests.hostile import areas_models, areas_options, areas_places, areas_signals, areas_tables, areas_worlds

AREAS = (areas_tables, areas_models, areas_options, areas_worlds, areas_places, areas_signals)
SITUATIONS = [situation for area in AREAS for situation in area.SITUATIONS]
