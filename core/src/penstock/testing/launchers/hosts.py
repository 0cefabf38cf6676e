"""Law 7: workers on hosts that belong to somebody."""

from __future__ import annotations

import attrs
import pytest

from penstock.testing.launchers.base import LauncherLaws
from penstock.testing.launchers.refusing import RefusingLaws
from penstock.testing.launchers.tools import Running, Stage
from penstock.testing.tools import broken

__all__ = ["HostLaws", "HostStartLaws"]

_ENVIRONMENT = "law 7 (a host takes variables of the allowed names, and no other)"
_TOO_MANY = "law 6 (a start of more workers than there are hosts is refused)"
_MODULE = "law 7 (a host runs no module but those of penstock's workers)"
_NAMES = "law 1 (hosts are told apart)"
_MANY = 1000


class HostLaws(LauncherLaws):
    """Laws of launchers whose workers are hosts."""

    def test_it_is_known_for_hosts(self, stage: Stage, crew: Running) -> None:
        assert stage.opener().hosts is True, "law 1: a launcher says before it starts that its workers are hosts"
        assert crew.launcher.channel in ("local", "protected", "open"), (
            "law 1: a launcher that started knows its channel"
        )

    def test_hosts_are_told_apart(self, crew: Running) -> None:
        names = [handle.host for handle in crew.handles]
        if len(set(names)) != len(names):
            raise broken(_NAMES, f"they are called {names}", "add what tells them apart to the names of the same")

    def test_each_has_a_directory_of_its_own(self, crew: Running) -> None:
        law = "law 7 (each worker has an empty directory of its own, which nobody else can read)"
        places = [crew.run(handle.call, "place", {}, law=law) for handle in crew.handles]
        if len({place["scratch"] for place in places}) != len(places):
            raise broken(law, "two workers have the same", "make one for each worker")
        for place in places:
            if place["mode"] & 0o077 or set(place["names"]) - {"host.log"}:
                what = f"{place['scratch']} has the mode {place['mode']:o} and holds {place['names']}"
                raise broken(law, what, "make it anew, with the mode 700")


class HostStartLaws(RefusingLaws):
    """Laws of what a host is asked to start."""

    def test_variables_that_are_allowed(self, stage: Stage) -> None:
        name, value = "PENSTOCK_KIT_MARK", "größe 7 = seven"
        with stage.alone(attrs.evolve(stage.spec, environment={name: value}), 1) as crew:
            answer = crew.run(crew.handles[0].call, "environment", {"name": name}, law=_ENVIRONMENT)
        if answer != {"value": value}:
            raise broken(_ENVIRONMENT, f"{name} was {answer['value']!r} there", "pass what the specification says on")

    @pytest.mark.parametrize("name", ["PYTHONSTARTUP", "LD_PRELOAD", "ACME_SETTING"])
    def test_variables_that_are_not(self, stage: Stage, name: str) -> None:
        value = "a value that no message may show"
        with self.refusal(stage, attrs.evolve(stage.spec, environment={name: value}), _ENVIRONMENT) as refusal:
            said = str(refusal[0])
        if name not in said or value in said:
            raise broken(_ENVIRONMENT, f"it was said: {said}", "name the variable and its host, and not its value")

    def test_unknown_modules(self, stage: Stage) -> None:
        module = "this"
        hosts = stage.hosts
        with self.refusal(stage, attrs.evolve(stage.spec, worker=module), _MODULE) as refusal:
            said = str(refusal[0])
        if f"'{module}'" not in said or not any(name in said for name in hosts):
            raise broken(_MODULE, f"it was said: {said}", "name the module and the host, and start nothing")

    def test_more_workers_than_hosts(self, stage: Stage) -> None:
        with self.refusal(stage, stage.spec, _TOO_MANY, _MANY) as refusal:
            said = str(refusal[0])
        if str(_MANY) not in said:
            raise broken(_TOO_MANY, f"it was said: {said}", "say how many were asked for, and how many there are")
