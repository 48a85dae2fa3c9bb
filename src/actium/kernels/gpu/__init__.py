"""Kernels for graphics processors: a plan's C statements as Triton, and how they are loaded and launched."""
