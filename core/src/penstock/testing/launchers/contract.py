"""The contracts of launchers, as test classes to inherit from."""

from __future__ import annotations

from penstock.testing.launchers.hosts import HostLaws
from penstock.testing.launchers.leaving import LeavingLaws
from penstock.testing.launchers.losing import LosingLaws
from penstock.testing.launchers.meeting import MeetingLaws
from penstock.testing.launchers.refusing import RefusingLaws
from penstock.testing.launchers.speaking import ErrorLaws, SpeakingLaws

__all__ = ["LauncherContract", "ProcessLauncherContract"]


# pytest takes the tests of the last base first: who meets before who speaks, and the starts of their own at the end.
class ProcessLauncherContract(RefusingLaws, LeavingLaws, LosingLaws, ErrorLaws, SpeakingLaws, MeetingLaws):
    """What a launcher promises whose workers are processes of one host."""


class LauncherContract(HostLaws, ProcessLauncherContract):
    """Everything that a launcher of hosts promises. Inherit, and say which; see :mod:`penstock.testing.launchers`."""
