"""Validators for options: what is wrong is a UsageError that names the option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from penstock.errors import UsageError

__all__ = ["at_least", "one_of"]

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def at_least(least: int) -> Validator:
    """A number that is not below ``least``, or None where the field may be None."""

    def check(_: object, field: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and value < least:
            raise UsageError(f"{field.name} is {value}; it is at least {least}")

    return check


def one_of(*values: str | None) -> Validator:
    """One of these texts."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in values:
            known = ", ".join(str(value) for value in values)
            raise UsageError(f"{field.name} is {value!r}; it is one of {known}")

    return check
