"""Text, tokens, tasks and batches. Imports nothing of training."""
