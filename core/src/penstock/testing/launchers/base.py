"""What every class of laws has: the launcher, and four workers at work that the laws of speaking share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from penstock.launchers import PROBE, LaunchSpec, WorkerHandle
from penstock.options import resolve
from penstock.plugins import default_host
from penstock.testing.launchers.tools import Left, Opener, Running, Stage, ended
from penstock.testing.tools import broken

__all__ = ["LauncherLaws"]


class LauncherLaws:
    """The base of the laws; see :mod:`penstock.testing.launchers` for what to override."""

    #: The name under which the launcher is installed.
    name: ClassVar[str] = ""
    #: How many workers are asked for. The launcher has to be able to start them.
    workers: ClassVar[int] = 4
    #: Seconds after which a call counts as hanging.
    patience: ClassVar[float] = 60.0
    #: Seconds within which a worker that was killed has to be missed, and what is left after ``stop`` has to be gone.
    grace: ClassVar[float] = 10.0

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> Mapping[str, Any]:
        """The options of the launcher, as ``--launcher-option`` takes them."""
        return {}

    @pytest.fixture(scope="class")
    @classmethod
    def launcher(cls, options: Mapping[str, Any]) -> Opener:
        """A call without arguments that opens the launcher; it is called often."""
        if not cls.name:
            pytest.fail("set name, or override the fixture launcher: return a call that opens the launcher")
        kind = default_host().launcher_type(cls.name)
        return lambda: kind.open(resolve(kind.options, explicit=options, scheme=cls.name).options)

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> LaunchSpec:
        """What the workers get."""
        return LaunchSpec(worker=PROBE, scratch=str(tmp_path_factory.mktemp("launcher")))

    @pytest.fixture(scope="class")
    @classmethod
    def stage(cls, launcher: Opener, spec: LaunchSpec) -> Iterator[Stage]:
        """Where workers come on."""
        stage = Stage(launcher, spec, workers=cls.workers, patience=cls.patience)
        yield stage
        stage.clear()

    @pytest.fixture
    def crew(self, stage: Stage) -> Running:
        """Workers that all laws share which end none."""
        return stage.shared()

    def strike(self, handle: WorkerHandle) -> None:
        """End a worker's process as ``kill -9`` does. Override it where workers are not of this machine."""
        os.kill(handle.pid, signal.SIGKILL)

    def has_ended(self, handle: WorkerHandle) -> bool:
        """Whether a worker's process ends within the grace. Override it where workers are not of this machine."""
        return ended(handle.pid, self.grace)

    def require_nothing_left(self, before: Left, handles: list[WorkerHandle], scratches: list[str], law: str) -> None:
        """No process, thread, port or file of workers that were stopped."""
        for handle in handles:
            if not self.has_ended(handle):
                what = f"process {handle.pid} of worker {handle.rank} on {handle.host} is still there"
                raise broken(law, what, "end it in stop(), by force if need be")
        before.require_nothing_more(law, self.grace)
        for scratch in scratches:
            if scratch and Path(scratch).exists():
                raise broken(law, f"the directory {scratch} is still there", "remove what a worker wrote once it ended")
