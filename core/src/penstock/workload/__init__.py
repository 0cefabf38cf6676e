"""Workloads: what a run shall do, which objects it takes, how large they are and what they are called."""
