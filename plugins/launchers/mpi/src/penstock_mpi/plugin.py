"""What penstock-mpi offers: the launcher ``mpi``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.hookspecs import hookimpl
from penstock.launchers import Launcher, LauncherType
from penstock.options import option

__all__ = ["MpiOptions", "penstock_launcher_types"]


@attrs.frozen(kw_only=True)
class MpiOptions:
    """Options of the launcher ``mpi``. Those of rank 0 count; it tells the other ranks."""

    per: Literal["node", "rank"] = option(
        "node",
        help="what is a host: each node that has ranks, however many they are, or each rank but 0",
        env="PENSTOCK_MPI_PER",
    )
    controller: Literal["works", "apart"] = option(
        "works",
        help="with per=node: whether the node of rank 0, which controls, is a host too (works) or not (apart)",
        env="PENSTOCK_MPI_CONTROLLER",
    )
    scratch: str | None = option(
        None,
        help="an existing directory of every host, where its worker keeps its last state, which penstock collect "
        "reads after the job was killed; default: the system's for temporary files",
        env="PENSTOCK_MPI_SCRATCH",
    )
    timeout: float = option(60.0, help="how long ranks may take to report, and their workers to start", unit="seconds")
    lease: float = option(
        60.0, help="a rank that hears nothing from rank 0 for so long ends", unit="seconds", env="PENSTOCK_MPI_LEASE"
    )
    ulfm: Literal["auto", "off"] = option(
        "auto",
        help="auto: ask the MPI library which ranks have died, where it can tell (mpirun --with-ft ulfm); "
        "off: rely on their silence alone",
        env="PENSTOCK_MPI_ULFM",
    )


def _open(options: MpiOptions) -> Launcher:
    from penstock_mpi.launcher import MpiLauncher

    return MpiLauncher(options)


def _serve() -> int | None:
    from penstock_mpi.serving import serve

    return serve()


@hookimpl
def penstock_launcher_types() -> Sequence[LauncherType]:
    """The launcher for mpirun and srun."""
    return (
        LauncherType(
            name="mpi",
            summary="the ranks of mpirun or srun: rank 0 controls, the nodes of all are hosts",
            options=MpiOptions,
            open=_open,
            serve=_serve,
        ),
    )
