"""The contract of a format, as a test class to inherit from."""

from __future__ import annotations

from penstock.testing.formats.damage import DamageLaws
from penstock.testing.formats.giving import GivingLaws, KindLaws
from penstock.testing.formats.life import LifeLaws
from penstock.testing.formats.making import MakingLaws
from penstock.testing.formats.reading import IndexLaws, ReadingLaws

__all__ = ["FormatContract"]


# pytest takes the tests of the last base first: giving before reading, and damage at the end.
class FormatContract(DamageLaws, LifeLaws, IndexLaws, ReadingLaws, MakingLaws, GivingLaws, KindLaws):
    """Everything that a format promises. Inherit, and say which; see :mod:`penstock.testing.formats`."""
