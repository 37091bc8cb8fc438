"""Typed configuration: dataclasses, recipes in YAML, dotted overrides, a dump of what was resolved."""
