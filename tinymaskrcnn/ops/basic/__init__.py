"""Elementwise arithmetic, reductions, matmul, indexing, reshaping, joining."""
