"""Every number that is reported, as pure functions of arrays and texts."""
