"""Stands in for a package of DLIO: its interface, as it is described, and no more."""
