"""What commands have in common that run a workload again and again: ``find`` and ``autotune``."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import click

from penstock.cli.launching import Launching, launching_options
from penstock.cli.session import Duration
from penstock.errors import UsageError
from penstock.tuning.runner import Runner
from penstock.workload.config import Config, Loaded, load

__all__ = ["Trying", "trying"]


@attrs.frozen(kw_only=True)
class Trying:
    """The workload, how long each trial is, in seconds, and where results go."""

    workload: str
    overrides: Sequence[str]
    stage: str | None
    seconds: float
    warmup: float
    results_dir: str | None
    launching: Launching
    quiet: bool
    as_json: bool

    def load(self, assignments: Sequence[str] = ()) -> Loaded:
        """The workload with further assignments, as a run of one leg. Raises ConfigError, and UsageError where it has
        stages and none is named, or another one.
        """
        overrides = [*self.overrides, *assignments]
        loaded = load(self.workload, overrides=overrides, environ=os.environ, edit=self.launching.edit)
        config = attrs.evolve(self._part(loaded.config), repeat=1, stop_when_stable=None, cooldown=0.0)
        if self.results_dir is not None:
            config = attrs.evolve(config, results_dir=self.results_dir)
        return attrs.evolve(loaded, config=config)

    def place(self) -> int | None:
        """The number of the stage; None without one."""
        if self.stage is None:
            return None
        stages = load(self.workload, overrides=self.overrides, environ=os.environ).config.stages
        return next(number for number, stage in enumerate(stages) if stage.name == self.stage)

    def runner(self, suffix: str) -> Runner:
        """What carries trials out, with a new directory for what they leave."""
        loaded = self.load()
        self.launching.ready(click.get_current_context(), loaded.config.launcher, loaded.config.distributed)
        return Runner.beside(
            loaded,
            suffix=suffix,
            command_line=shlex.join(["penstock", *sys.argv[1:]]),
            say=lambda text: None if self.quiet else click.echo(text, err=True),
        )

    def _part(self, config: Config) -> Config:
        names = ", ".join(stage.name for stage in config.stages)
        if self.stage is None:
            if config.stages:
                raise UsageError(f"{self.workload} has stages, and one is tried at a time: name it by --stage: {names}")
            return config
        for stage, part in zip(config.stages, config.parts(), strict=False):
            if stage.name == self.stage:
                return part
        raise UsageError(f"--stage {self.stage}: {self.workload} has {f'the stages {names}' if names else 'no stages'}")


_LAST: Final = (
    click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the workload."),
    click.option("--stage", metavar="NAME", help="Of a file with stages, which to try. Repeats are left out."),
    click.option("--warmup", type=Duration(), default="1s", show_default=True, help="Warm-up of each trial."),
    click.option(
        "--results-dir", metavar="DIR", help="Where to make the directory of results; default: as the file says."
    ),
    launching_options,
    click.option("-q", "--quiet", is_flag=True, help="Show nothing while it runs."),
    click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON at the end, and nothing else, on stdout."
    ),
)


def trying(seconds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the workload and these options; it gets them as ``trials``. ``seconds`` is how long a trial is
    unless it is said.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(
            workload: str,
            overrides: tuple[str, ...],
            stage: str | None,
            seconds: float,
            warmup: float,
            results_dir: str | None,
            launching: Launching,
            quiet: bool,
            as_json: bool,
            **further: Any,
        ) -> Any:
            if seconds <= 0:
                raise UsageError("--trial: measure for some time, such as 10s")
            trials = Trying(
                workload=workload,
                overrides=overrides,
                stage=stage,
                seconds=seconds,
                warmup=warmup,
                results_dir=results_dir,
                launching=launching,
                quiet=quiet,
                as_json=as_json,
            )
            return command(trials=trials, **further)

        decorated: Any = run
        length = click.option(
            "--trial", "seconds", type=Duration(), default=seconds, show_default=True, help="Measured time of a trial."
        )
        for option in reversed((*_LAST[:2], length, *_LAST[2:])):
            decorated = option(decorated)
        return click.argument("workload", metavar="WORKLOAD.yaml")(decorated)  # type: ignore[no-any-return]

    return decorate
