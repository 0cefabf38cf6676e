"""structlog on standard error, set up only when someone asks to hear it."""

from __future__ import annotations

import logging
import sys

__all__ = ["configure", "quiet_libraries"]

_LEVELS = {0: logging.WARNING, 1: logging.INFO}


def configure(verbosity: int) -> None:
    """Send structlog's events to standard error: warnings at 0, information at 1, everything from 2 on."""
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS.get(verbosity, logging.DEBUG)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def quiet_libraries() -> None:
    """Keep what libraries log from standard error, where Python would print it when nobody has set up logging.

    A command says what failed in one message; -v shows the libraries' own words too.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())
