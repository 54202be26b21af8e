"""Kernels that train and roll out a float32 model on a CPU."""
