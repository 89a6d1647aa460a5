"""Marks what needs tflite-runtime, which ends with Python 3.11."""

import importlib.util

import pytest

needs_tflite_runtime = pytest.mark.skipif(
    importlib.util.find_spec("tflite_runtime") is None,
    reason="tflite-runtime is not installed; it has no wheels for Python 3.12 and later",
)
