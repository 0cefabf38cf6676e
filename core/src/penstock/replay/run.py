"""A whole replay: the parts, their workers, and what is left of it in a result directory.

The field ``replay`` of ``result.json`` holds, beside the log, the speed and what was recorded, these ``counts``::

    rows                of the log; bad_rows: malformed ones that were skipped
    selected            rows that --ops, --limit, --from and --to left
    replayed            operations that were begun
    left_out            selected, and not replayed; settings.left_out says why, by a word
    not_begun           selected, and not reached: after a stop, or of a lost worker
    given_up            begun, and not ended within the drain timeout
    failed_as_recorded  failed then and now; failed_anew: only now; succeeded_anew: only then
    other_size          reads that delivered another number of bytes than was recorded
    flaps               changes between behind the schedule and on it

and these ``settings``::

    target, rules       the target, null if there is none, and the number of rules
    seconds_planned     of the schedule, null without one, or if it was not known; seconds_recorded: of the whole log
    lanes               threads that there were at the end; peak_in_flight: most operations under way at once
    approximated        operations that were replayed otherwise than they were recorded, by a word
    left_out            operations that were not replayed, by a word
    behind              list of stretches behind the schedule: from_s and to_s, null: to the end
    backpressure        its settings, as penstock.replay.settings.Backpressure describes them

The words are those of :data:`penstock.replay.planning.APPROXIMATIONS` and :data:`~penstock.replay.planning.LEFT_OUT`.
How late operations started is the ``lag_us`` of each operation, and of each interval.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from penstock.clocks import wall_ns
from penstock.engine.conduct import OP_LOG, RunResult, carry_out, join_log
from penstock.engine.coordinator import Coordinator
from penstock.engine.course import Course, LegCourse
from penstock.engine.found import Found
from penstock.engine.judging import judge_limit
from penstock.engine.outcomes import EXIT_ERRORS, About, outcome_of, status_of
from penstock.engine.parts import HostPlan, host_plans
from penstock.engine.plan import Host
from penstock.engine.starting import expected_hosts, open_launcher
from penstock.errors import UsageError, redact
from penstock.launchers import LaunchSpec
from penstock.opening import resolve_place
from penstock.quantities import format_duration
from penstock.replay.part import Outlook, ReplayPart, look_ahead, make_parts
from penstock.replay.planning import APPROXIMATIONS, LEFT_OUT
from penstock.replay.rows import Extent, measure
from penstock.replay.settings import Settings
from penstock.replay.watching import ReplayObserver
from penstock.report import results_directory, write_results
from penstock.report.job import Job
from penstock.report.live import LiveView
from penstock.report.outcome import Outcome, Planned, Replayed
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL
from penstock.urls import strip_scheme
from penstock.workload.config import Distributed, LauncherChoice, OnError

__all__ = ["Prepared", "ReplayPlanner", "check", "execute_replay"]

_WORKER: Final = "penstock.replay.worker"
#: A schedule was kept when 99 of 100 operations started no later than so many nanoseconds after they were due.
_KEPT_NS: Final = 100_000_000


@attrs.frozen
class Prepared:
    """A replay that can be begun: the settings, what the log is, and what its head promises."""

    settings: Settings
    extent: Extent
    outlook: Outlook

    def shown(self) -> dict[str, Any]:
        """The settings in full as what JSON can hold, without secrets."""
        message = self.settings.to_message()
        hidden = self.outlook.secrets
        message["options"] = {name: "***" if name in hidden else value for name, value in message["options"].items()}
        return message

    @property
    def seconds(self) -> float | None:
        """How long the schedule is at most, None when there is none, or it is not known beforehand."""
        settings, extent = self.settings, self.extent
        if settings.speed is None or settings.limit is not None or settings.operations:
            return None
        begin, end = extent.first_ns, extent.last_ns
        if settings.begin is not None:
            begin = max(begin, settings.begin.ns + (extent.first_ns if settings.begin.relative else 0))
        if settings.end is not None:
            end = min(end, settings.end.ns + (extent.first_ns if settings.end.relative else 0))
        return max(end - begin, 0) / settings.speed / 1e9

    @property
    def operations(self) -> int | None:
        """How many operations it has, None when that is not known beforehand."""
        settings, counts = self.settings, self.extent.operations
        if settings.begin is not None or settings.end is not None:
            return None
        rows = sum(count for name, count in counts.items() if not settings.operations or name in settings.operations)
        return rows if settings.limit is None else min(rows, settings.limit)


def check(settings: Settings) -> Prepared:
    """Read the times of the whole log, and plan its head. Raises UsageError, OpLogError and their kin for what can't
    be replayed, before anything is started.
    """
    if os.path.exists(settings.log) and not os.path.isfile(settings.log):
        raise UsageError(f"{settings.log} is no file; a log is read several times, so write it to one first")
    extent = measure(settings.log, settings.window, skip_bad_rows=settings.skip_bad_rows)
    if not extent.rows:
        raise UsageError(f"{settings.log} holds no operation to replay")
    outlook = look_ahead(settings, extent.first_ns)
    if outlook.empty and not outlook.partial:
        raise UsageError(
            f"{settings.log}: none of its {extent.rows:,} operations is selected; check --ops, --from, --to and --limit"
        )
    return Prepared(settings, extent, outlook)


def execute_replay(
    prepared: Prepared,
    *,
    config_text: str,
    command_line: str,
    launcher: LauncherChoice | str = "local",
    distributed: Distributed | None = None,
    view: Callable[[Path], LiveView],
) -> RunResult:
    """Replay and write the results, also when it fails or is interrupted.

    ``launcher`` says where workers start, ``distributed`` what is to be done about hosts. ``view`` gets the result
    directory once it exists; ``config_text`` is kept as it was given. Raises UsageError for what can't be carried out
    before anything is started, or done on the hosts that there are; after that failures are in the outcome.
    """
    settings = prepared.settings
    distributed = Distributed() if distributed is None else distributed
    choice = LauncherChoice(launcher) if isinstance(launcher, str) else launcher
    starter = open_launcher(choice, distributed)
    planner = ReplayPlanner(prepared, distributed, secrets.token_hex(4), logs=bool(settings.op_log), local=choice.name)
    parts = planner.parts(expected_hosts(distributed) if starter.hosts else None)
    started = wall_ns()
    name = f"replay-{os.path.basename(settings.log).partition('.')[0] or 'log'}"
    directory = results_directory(settings.results_dir, name, started)
    op_log = settings.op_log if isinstance(settings.op_log, str) else str(directory / OP_LOG)
    if settings.op_log:
        parts = [part.logging_to(op_log) for part in parts]
    watching = view(directory)
    observer = ReplayObserver(settings, watching)
    course = attrs.evolve(
        _course(prepared),
        distributed=distributed,
        inputs=planner.inputs if starter.hosts else {},
        about={"name": name, "target": redact(_target(settings)), "command_line": redact(command_line)},
    )
    coordinator = Coordinator(course, parts, starter, watching, observer, for_hosts=planner, directory=directory)

    def write() -> RunResult:
        found = coordinator.found
        log = join_log(op_log, coordinator.plans, found) if settings.op_log else None
        found.notes.extend(_remarks(prepared, observer))
        outcome = _outcome(prepared, name, command_line, started, found, observer, log)
        report = write_results(directory, outcome, config_text=config_text, plan=_plan(prepared, planner.made or parts))
        return RunResult(Job.of(outcome), directory, Path(report))

    return carry_out(coordinator, LaunchSpec(worker=_WORKER), directory, write)


class ReplayPlanner:
    """A :class:`~penstock.engine.coordinator.HostPlanner` of a replay. ``made`` are the parts that it made last."""

    def __init__(self, prepared: Prepared, distributed: Distributed, run_id: str, *, logs: bool, local: str) -> None:
        """``logs``: every process writes a part of the op-log. ``local`` is the launcher; the one of that name starts
        its hosts here, where the log to replay is.
        """
        self._prepared = prepared
        self._distributed = distributed
        self._run_id = run_id
        self._logs = logs
        self._here = local == LauncherChoice().name
        self.made: list[ReplayPart] = []

    @property
    def inputs(self) -> dict[str, str]:
        """What is sent to hosts: the log, by a name that tells its format."""
        path = self._prepared.settings.log
        return {} if self._here else {_log_name(path): path}

    def parts(self, hosts: Sequence[Host] | None) -> list[ReplayPart]:
        """The parts of all processes. Raises what :func:`~penstock.replay.part.make_parts` does."""
        prepared = self._prepared
        return make_parts(
            prepared.settings,
            prepared.outlook,
            first_ns=prepared.extent.first_ns,
            run_id=self._run_id,
            hosts=hosts,
        )

    def plans(self, hosts: Sequence[Host]) -> Sequence[HostPlan]:
        """The part of each host."""
        agents = self._distributed.agents_of([host.names for host in hosts])
        self.made = self.parts(hosts)
        parts = [self._finding_log(part) for part in self.made]
        parts = [part.logging_to(OP_LOG) for part in parts] if self._logs else parts
        return host_plans(
            parts,
            run_id=self._run_id,
            worker=_WORKER,
            shares=1,
            environments=[{} if agent is None else self._distributed.agents[agent].env for agent in agents],
        )

    def questions(self) -> Sequence[Mapping[str, Any]]:
        """A replay has no configuration that a host could look at."""
        return ()

    def _finding_log(self, part: ReplayPart) -> ReplayPart:
        path = self._prepared.settings.log
        if self._here:
            return attrs.evolve(part, settings={**part.settings, "log": os.path.abspath(path)})
        return attrs.evolve(part, inputs={"log": _log_name(path)})


def _log_name(path: str) -> str:
    """A plain name that ends as the path does, for the endings tell the format."""
    return f"input.{os.path.basename(path).partition('.')[2] or 'log'}"


def _course(prepared: Prepared) -> Course:
    settings = prepared.settings
    on_error = OnError(
        max_total_errors=settings.max_errors, action="continue" if settings.max_errors is None else "stop"
    )
    return Course(
        on_error=on_error,
        live_interval=settings.live_interval,
        legs=[LegCourse(duration=prepared.seconds, total=prepared.operations)],
        prepares=settings.prepare or settings.cleanup,
        cleanup=settings.cleanup,
    )


def _outcome(
    prepared: Prepared,
    name: str,
    command_line: str,
    started: int,
    found: Found,
    observer: ReplayObserver,
    log: dict[str, Any] | None,
) -> Outcome:
    settings = prepared.settings
    course = _course(prepared)
    measured = found.only(course.legs[0])
    status, exit_code, reason = status_of(course.on_error, found)
    totals, path = measured.totals, _local_path(settings)
    lag = totals.roll_up(ALL).lag
    kept = bool(lag.count) and lag.percentile(99) < _KEPT_NS
    planned = Planned(operations=observer.started, missed=0) if kept else None
    limit = judge_limit(measured, lanes=max(observer.lanes, 1), planned=planned, path=path)
    if status == "done" and totals.errors and not totals.count:
        status, exit_code, reason = "errors", EXIT_ERRORS, f"each of the {totals.errors:,} operations failed"
    about = About(
        name=name,
        command_line=redact(command_line),
        target=_target(settings),
        started_ns=started,
        path=path,
    )
    outcome = outcome_of(about, measured, (status, exit_code, reason), found=found, op_log=log)
    return attrs.evolve(
        outcome,
        verdict=" ".join(filter(None, (_punctuality(lag), limit.text if limit is not None else ""))),
        replay=_replayed(prepared, observer),
    )


def _punctuality(lag: Histogram) -> str:
    """How well the schedule was kept, in a sentence."""
    if not lag.count:
        return ""
    half, most, worst = (format_duration(value / 1e9) for value in (*lag.percentiles((50, 99)), lag.maximum))
    return f"Operations started {half} (p50) and {most} (p99) after they were due, at most {worst}."


def _replayed(prepared: Prepared, observer: ReplayObserver) -> Replayed:
    settings, extent = prepared.settings, prepared.extent
    left_out = sum(observer.left_out.values())
    counts = {
        "rows": extent.rows,
        "bad_rows": max(extent.bad_rows, observer.bad_rows),
        "selected": observer.chosen,
        "replayed": observer.started,
        "left_out": left_out,
        "not_begun": _not_begun(prepared, observer),
        "given_up": observer.given_up,
        "failed_as_recorded": observer.outcomes["failed_as_recorded"],
        "failed_anew": observer.outcomes["failed_anew"],
        "succeeded_anew": observer.outcomes["succeeded_anew"],
        "other_size": observer.outcomes["other_size"],
        "flaps": observer.flaps.count,
    }
    facts = {
        "target": settings.target,
        "rules": len(settings.rules),
        "seconds_planned": prepared.seconds,
        "seconds_recorded": (extent.last_ns - extent.first_ns) / 1e9,
        "lanes": observer.lanes,
        "peak_in_flight": observer.peak,
        "approximated": dict(observer.approximated),
        "left_out": dict(observer.left_out),
        "behind": [
            {"from_s": begin / 1e9, "to_s": None if end is None else end / 1e9}
            for begin, end in observer.flaps.stretches
        ],
        "backpressure": attrs.asdict(settings.backpressure),
    }
    return Replayed(
        log=settings.log,
        speed=settings.speed,
        recorded=observer.recorded,
        recorded_seconds=observer.recorded_seconds,
        counts=counts,
        settings=facts,
    )


def _not_begun(prepared: Prepared, observer: ReplayObserver) -> int:
    """Operations that were neither begun nor left out: of workers that stopped or were lost."""
    total = observer.chosen if prepared.operations is None else prepared.operations
    return max(total - observer.started - sum(observer.left_out.values()), 0)


def _remarks(prepared: Prepared, observer: ReplayObserver) -> list[str]:
    """What is to be known of how faithful the replay was."""
    extent = prepared.extent
    remarks = []
    if extent.cut_off:
        remarks.append(f"{prepared.settings.log} is cut off; its {extent.rows:,} whole rows were used")
    bad = max(extent.bad_rows, observer.bad_rows)
    if bad:
        remarks.append(f"{bad:,} malformed rows of the log were skipped")
    remarks += [f"not replayed: {count:,} {LEFT_OUT[word]}" for word, count in sorted(observer.left_out.items())]
    remarks += [
        f"replayed otherwise: {count:,} {APPROXIMATIONS[word]}" for word, count in sorted(observer.approximated.items())
    ]
    if observer.outcomes["failed_anew"] and prepared.settings.speed is not None:
        remarks.append(
            "operations are due whether or not earlier ones have ended: one that needs what another makes fails if "
            "that takes longer than it did; a --speed below 1 leaves time, --as-fast-as-possible keeps threads in order"
        )
    texts = {
        "other_size": "reads delivered another number of bytes than was recorded",
        "failed_anew": "operations failed that had succeeded when they were recorded",
        "failed_as_recorded": "operations failed, as they had when they were recorded",
        "succeeded_anew": "operations succeeded that had failed when they were recorded",
    }
    remarks += [f"{observer.outcomes[word]:,} {text}" for word, text in texts.items() if observer.outcomes[word]]
    if observer.prepared["smaller"]:
        remarks.append(
            f"prepare: {observer.prepared['smaller']:,} objects are there, but smaller than what is read of them"
        )
    if observer.prepared["sizeless"]:
        remarks.append(f"prepare: {observer.prepared['sizeless']:,} objects were made empty, for the log tells no size")
    if missing := _not_begun(prepared, observer):
        remarks.append(f"{missing:,} operations were not begun")
    if observer.given_up:
        seconds = prepared.settings.backpressure.drain_timeout
        remarks.append(f"{observer.given_up:,} operations had not ended after {seconds:g} s and were given up")
    if observer.guessed:
        remarks.append(
            f"no plugin serves {', '.join(sorted(observer.guessed))}://; what follows it was taken for the bucket"
        )
    remarks += [f"a stand-in for sources of copies was left: {text}" for text in observer.left]
    return remarks


def _plan(prepared: Prepared, parts: list[ReplayPart]) -> dict[str, Any]:
    split = [{"rank": part.rank, "cpu": part.cpu, "lanes": part.lanes} for part in parts]
    return {
        "schema": "penstock.replay-plan/1",
        "run_id": parts[0].run_id,
        "settings": prepared.shown(),
        "log": attrs.asdict(prepared.extent) | {"operations": dict(prepared.extent.operations)},
        "workers": split,
    }


def _target(settings: Settings) -> str:
    return settings.target or ("as recorded" if settings.in_place else "by rules")


def _local_path(settings: Settings) -> str | None:
    """The target as a path of this host, where its backend has real directories."""
    if settings.target is None:
        return None
    target = resolve_place(settings.target)
    if not target.kind.capabilities.directories:
        return None
    path = os.path.abspath(strip_scheme(target.address.base) + target.address.key)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
