"""Kernels for GPUs, one file each, and the choice of attention. `ops` picks them."""
