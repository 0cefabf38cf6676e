"""NumPy's own files as formats of penstock: NPY, one array, and NPZ, an archive of named ones.

:mod:`penstock_npz.npy` has the arrays, :mod:`penstock_npz.archive` and :mod:`penstock_npz.directory` the ZIP around
them, :mod:`penstock_npz.codec` what core asks for.
"""

from __future__ import annotations

__all__: list[str] = []
