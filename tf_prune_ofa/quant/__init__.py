"""Quantization-aware training: what becomes INT8, how it is emulated, and the ranges it learns."""
