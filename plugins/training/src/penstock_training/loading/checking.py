"""Validators for options: what is wrong is a UsageError that names the option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from penstock.errors import UsageError

__all__ = ["as_plain", "at_least", "is_number", "is_truth", "one_of"]

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def as_plain(value: Any) -> Any:
    """A number or a truth value of NumPy as one of Python; everything else as it is. A converter."""
    return value.item() if isinstance(value, np.integer | np.bool_) else value


def is_number(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """An integer."""
    if not isinstance(value, int):
        raise UsageError(f"{field.name} is {value!r}; it is an integer")


def is_truth(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise UsageError(f"{field.name} is {value!r}; it is True or False")


def at_least(least: int, *, kind: type[int] | type[float] = int) -> Validator:
    """An integer, or with ``kind`` float any number, that is not below ``least``; None where the field may be None."""
    kinds = (int, float) if kind is float else (int,)

    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if value is None and field.default is None:
            return
        if not isinstance(value, kinds) or value < least:
            what = "a number" if kind is float else "an integer"
            raise UsageError(f"{field.name} is {value!r}; it is {what} of at least {least}")

    return check


def one_of(*values: str | None) -> Validator:
    """One of these texts."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in values:
            known = ", ".join(str(value) for value in values)
            raise UsageError(f"{field.name} is {value!r}; it is one of {known}")

    return check
