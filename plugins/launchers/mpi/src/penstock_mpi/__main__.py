"""``python -m penstock_mpi``: serve as a host of a job whose rank 0 is another program that uses penstock.

Such as ``mpirun -n 1 python tool.py : -n 4 python -m penstock_mpi``.
"""

from __future__ import annotations

import sys

from penstock.errors import PenstockError, UsageError
from penstock_mpi.serving import serve


def main() -> None:
    """Serve on every rank but 0, on which it is an error."""
    try:
        code = serve()
    except PenstockError as error:
        sys.stderr.write(f"penstock: {error}\n")
        sys.exit(2 if isinstance(error, UsageError) else 1)
    if code is None:
        sys.stderr.write("penstock: rank 0 controls: let it run penstock run … --launcher mpi\n")
        sys.exit(2)
    sys.exit(code)


if __name__ == "__main__":
    main()
