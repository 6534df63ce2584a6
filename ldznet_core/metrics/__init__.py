"""How masks are counted: overlaps, the two protocols of the literature, ranking, reliability."""
