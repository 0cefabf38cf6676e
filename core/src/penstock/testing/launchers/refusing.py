"""Law 6: starts that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from penstock.errors import RunError
from penstock.launchers import LaunchSpec
from penstock.launching import messages
from penstock.testing.launchers.base import LauncherLaws
from penstock.testing.launchers.tools import Left, Stage
from penstock.testing.tools import broken

__all__ = ["RefusingLaws"]

_REFUSED = "law 6 (a start that can't be is a RunError that says why, and leaves nothing)"
_PROTOCOL = "law 6 (a worker of other messages is refused, by its name)"


class RefusingLaws(LauncherLaws):
    """Laws of a ``start`` that fails. One worker is enough for most."""

    def test_other_protocols(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        hosts, of_hosts = stage.hosts, stage.opener().hosts
        other = messages.PROTOCOL + 96
        for module in ("penstock.launching.messages", "penstock.launching.workers", "penstock.launching.rules"):
            monkeypatch.setattr(f"{module}.PROTOCOL", other, raising=False)
        with self.refusal(stage, stage.spec, _PROTOCOL) as refusal:
            pass
        said = str(refusal[0])
        if str(other) not in said or not any(name in said for name in (hosts if of_hosts else ["worker 0"])):
            raise broken(_PROTOCOL, f"it was said: {said}", "name the host, and the messages of both")

    @contextmanager
    def refusal(self, stage: Stage, spec: LaunchSpec, law: str, workers: int = 1) -> Iterator[list[RunError]]:
        """A start that has to be refused; gives the error, after the check of what it left."""
        stage.clear()
        before = Left.now()
        try:
            with stage.alone(spec, workers) as crew:
                came = len(crew.handles)
        except RunError as error:
            found = [error]
        except Exception as error:
            what = f"{type(error).__name__} was raised ({error})"
            raise broken(law, what, "raise RunError with what the user can do") from error
        else:
            raise broken(law, f"{came} workers came", "look at what is asked for before anything is started")
        before.require_nothing_more(_REFUSED, self.grace)
        yield found
