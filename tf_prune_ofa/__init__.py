"""Prune a BERT encoder once, keep its sparsity pattern on every task, ship sparse INT8 files."""

__version__ = "0.1.0"
