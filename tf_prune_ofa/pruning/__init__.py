"""Which layers are pruned, when, how, and how the pattern is kept afterwards."""
