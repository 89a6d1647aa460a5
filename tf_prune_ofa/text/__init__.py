"""Text to word pieces and windows of them, and back: what training and running share."""
