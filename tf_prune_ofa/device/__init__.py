"""Measure `.tflite` files on a phone, a board or this machine, with a native runner."""
