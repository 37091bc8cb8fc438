"""The HTTP API: requests of many clients answered together, within bounds."""
