"""Compute layers with dead blocks from their live blocks only, on stock operators."""
