"""``penstock-dlio``: DLIO's own command, with penstock's storage in it. Its arguments are DLIO's."""

from __future__ import annotations

import sys

from penstock_dlio.installing import install

__all__ = ["main"]


def main() -> None:
    """Install penstock's storage everywhere, and run DLIO."""
    try:
        install(everywhere=True)
        from dlio_benchmark.main import main as run
    except ImportError as error:
        sys.exit(f"penstock-dlio: DLIO can't be imported ({error}); install dlio-benchmark in this environment")
    run()


if __name__ == "__main__":
    main()
