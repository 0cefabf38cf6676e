"""``python -m penstock_mpi``: serve as a host of a job whose rank 0 is another program that uses penstock.

Such as ``mpirun -n 1 python tool.py : -n 4 python -m penstock_mpi``.
"""

from __future__ import annotations

import sys

from penstock.errors import PenstockError
from penstock_mpi.serving import serve


def main() -> None:
    """Serve on every rank but 0, on which it is an error."""
    try:
        code = serve()
    except PenstockError as error:
        sys.exit(f"penstock: {error}")
    if code is None:
        sys.exit("penstock: rank 0 controls; let it run penstock run … --launcher mpi, or a program that uses penstock")
    sys.exit(code)


if __name__ == "__main__":
    main()
