"""Measure `.tflite` files: latency, memory, load time."""
