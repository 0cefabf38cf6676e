"""Loaders, checkpoints and training-shaped workloads on any storage that penstock reads."""
