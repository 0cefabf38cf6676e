"""Keeping secrets of a configuration out of what people see and results keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from penstock.errors import PenstockError, redact
from penstock.options import describe
from penstock.plugins import default_host
from penstock.workload.distributed import LauncherChoice

if TYPE_CHECKING:
    from penstock.workload.config import Config

__all__ = ["MASK", "hide", "masked"]

#: Stands for what nobody is to read.
MASK = "***"
#: The same within a text, which as YAML is still a word.
_HIDDEN = "(hidden)"
#: Shorter texts keep nothing secret, and would be found where they mean nothing.
_SHORTEST = 4


def masked(config: Config) -> Config:
    """The configuration without values of secret options, and without what agents are given in their environment."""
    agents = tuple(attrs.evolve(each, env=dict.fromkeys(each.env, MASK)) for each in config.distributed.agents)
    backend = {
        scheme: _masked(options, _secret(default_host().store_type(scheme).options))
        for scheme, options in config.backend.items()
    }
    launcher = attrs.evolve(config.launcher, options=_masked(config.launcher.options, _secret_of(config.launcher)))
    distributed = attrs.evolve(config.distributed, agents=agents)
    return attrs.evolve(config, backend=backend, launcher=launcher, distributed=distributed)


def hide(config: Config, text: str) -> str:
    """A text about the configuration, such as its file or the command line, without the secrets that it holds."""
    for secret in sorted(set(_secrets(config)), key=lambda value: (-len(value), value)):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _HIDDEN)
    return redact(text)


def _secrets(config: Config) -> Iterator[str]:
    for agent in config.distributed.agents:
        yield from agent.env.values()
    for scheme, options in config.backend.items():
        secret = _secret(default_host().store_type(scheme).options)
        yield from (value for name, value in options.items() if name in secret and value)
    secret = _secret_of(config.launcher)
    yield from (value for name, value in config.launcher.options.items() if name in secret and value)


def _secret(options: type[Any]) -> set[str]:
    return {field.name for field in describe(options) if field.secret}


def _secret_of(launcher: LauncherChoice) -> set[str]:
    try:
        return _secret(default_host().launcher_type(launcher.name).options)
    except PenstockError:
        # What is not known here may be a secret there.
        return set(launcher.options)


def _masked(options: Mapping[str, str | None], secret: set[str]) -> dict[str, str | None]:
    return {name: MASK if name in secret and value else value for name, value in options.items()}
