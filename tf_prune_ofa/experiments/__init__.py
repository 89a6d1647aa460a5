"""Compare methods, runtimes and ways to train; nothing here is part of a recipe."""
