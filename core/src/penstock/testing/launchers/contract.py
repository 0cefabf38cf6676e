"""The contracts of launchers, as test classes to inherit from."""

from __future__ import annotations

from penstock.testing.launchers.erring import ErrorLaws
from penstock.testing.launchers.hosts import HostLaws, HostStartLaws
from penstock.testing.launchers.leaving import LeavingLaws
from penstock.testing.launchers.losing import LosingLaws
from penstock.testing.launchers.meeting import MeetingLaws
from penstock.testing.launchers.refusing import RefusingLaws
from penstock.testing.launchers.running import RunLaws
from penstock.testing.launchers.speaking import SpeakingLaws

__all__ = ["LauncherContract", "ProcessLauncherContract"]


# pytest takes the tests of the last base first: those that share workers come before those that start their own.
class ProcessLauncherContract(RefusingLaws, LeavingLaws, LosingLaws, ErrorLaws, SpeakingLaws, MeetingLaws):
    """What a launcher promises whose workers are processes of one host."""


class LauncherContract(RunLaws, HostStartLaws, ProcessLauncherContract, HostLaws):
    """Everything that a launcher of hosts promises. Inherit, and say which; see :mod:`penstock.testing.launchers`."""
