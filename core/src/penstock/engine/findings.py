"""What a look at a host before a run finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, cast

import attrs

from penstock.errors import UsageError

__all__ = ["LEVELS", "Finding", "Level", "PreflightError", "of_level", "ordered"]

#: ``error``: the run can't succeed; ``warning``: its figures may not be what is expected; ``info``: good to know.
Level = Literal["error", "warning", "info"]
#: From the gravest on.
LEVELS: Final[tuple[Level, ...]] = ("error", "warning", "info")


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that was found on a host: ``subject`` is what it is about, ``remedy`` what to do, empty: nothing."""

    level: Level
    subject: str
    cause: str
    remedy: str = ""
    host: str = ""

    def __str__(self) -> str:
        where = f"{self.host}: " if self.host else ""
        return f"{where}{self.subject}: {self.cause}{f'; {self.remedy}' if self.remedy else ''}"

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return attrs.asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Finding:
        """What :meth:`to_message` was called on. A level that is not known here is taken for an error."""
        level = cast("Level", message["level"]) if message["level"] in LEVELS else "error"
        texts = {name: str(message.get(name, "")) for name in ("subject", "cause", "remedy", "host")}
        return cls(level=level, **texts)


class PreflightError(UsageError):
    """Hosts on which a run can't succeed; ``findings`` are all that was found, errors first."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(ordered(findings))
        super().__init__("\n".join(str(each) for each in of_level(self.findings, "error")))

    def __reduce__(self) -> tuple[type[PreflightError], tuple[tuple[Finding, ...]]]:
        return type(self), (self.findings,)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The gravest first, and those of a level by host, in the order in which they were found."""
    return sorted(findings, key=lambda each: (LEVELS.index(each.level), each.host))


def of_level(findings: Iterable[Finding], level: Level) -> list[Finding]:
    """Those of one level."""
    return [each for each in findings if each.level == level]
