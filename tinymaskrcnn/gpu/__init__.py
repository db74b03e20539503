"""The foundation of the ops' CUDA kernels: device memory, launches, and the toolkit behind them.

Only launch.py, which the ops' cuda.py import, needs a CUDA package.
"""
