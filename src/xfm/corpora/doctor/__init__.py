"""A data set examined before training: damage, implausible values and duplicates, as counts and a page."""
