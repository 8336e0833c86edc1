"""How rough the boundaries between labels are: dimensions by two roads, entropies, and a verdict beside controls."""
