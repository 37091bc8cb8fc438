"""Ranking pictures by texts and texts by pictures: contrast first, then the matching head on the best."""
