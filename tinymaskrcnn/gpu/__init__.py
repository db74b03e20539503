"""What the CUDA kernels of the ops stand on: device memory, launches, and the toolkit behind them.

Importing these modules needs no CUDA package, but for launch.py, which the ops' cuda.py import.
"""
