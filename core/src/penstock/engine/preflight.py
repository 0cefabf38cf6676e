"""A look at every host before the first byte: can what the configuration asks for succeed there?

The controller makes a question for each host (:func:`ask`); the host answers it (:func:`answer`) with what it finds:
versions and plugins against the controller's, each store by a page of a listing and, where the run writes, by an
object that is removed again, free space, memory and the limit of open files. :func:`inspect` asks all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import anyio
import attrs

from penstock.engine.findings import Finding, ordered
from penstock.engine.machine import look_at_machine
from penstock.engine.places import paths_of
from penstock.engine.trials import Trial, trials_of
from penstock.environment import variables
from penstock.errors import ConfigError, PenstockError, PluginError
from penstock.launchers import Body, Greeting
from penstock.launching.greeting import greet
from penstock.plugins import PluginHost, default_host
from penstock.urls import parse_object
from penstock.workload.config import Config, dump, restore
from penstock.workload.operations import Put

__all__ = [
    "Need",
    "answer",
    "ask",
    "inspect",
    "look_at_plugins",
    "look_at_versions",
    "needs_of",
    "preflight",
    "questions",
]

#: A store that has said nothing for so long is taken for one that can't be reached.
PATIENCE_SECONDS = 30.0
#: How much longer than that a host may take for all of its answer, without a word of it.
_ANSWER_SECONDS = 90.0


@attrs.frozen(kw_only=True)
class Need:
    """A plugin that the configuration uses: its group, its name there, and where this host has it from."""

    group: str
    name: str
    distribution: str
    version: str

    @property
    def subject(self) -> str:
        return f"plugin {self.name.replace('.', '+')}"


def needs_of(config: Config) -> list[Need]:
    """Every plugin that stores, contents and formats of a configuration come from; what core brings is none."""
    wanted = {("penstock.stores", parse_object(uri).scheme.replace("+", ".")) for uri in _uris(config)}
    for entry in _contents(config):
        wanted.add(("penstock.payloads", entry.fill))
        if entry.format is not None:
            wanted.add(("penstock.formats", entry.format))
    needs = []
    for group, name in sorted(wanted):
        origin = default_host().origin(group, name)
        if origin is not None and origin[0] != "penstock":
            needs.append(Need(group=group, name=name, distribution=origin[0], version=origin[1]))
    return needs


def _uris(config: Config) -> Iterator[str]:
    for path in paths_of(config):
        yield config.locate(path)
    if config.multi_endpoint is not None:
        yield from config.multi_endpoint.uris()


def _contents(config: Config) -> Iterator[Any]:
    for part in config.parts():
        yield from (item for item in part.workload if isinstance(item, Put))
    yield from config.prepare.ensure_objects
    if config.prepare.directory_structure is not None:
        yield config.prepare.directory_structure


def ask(config: Config, *, hosts: int, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The question to one host; ``config`` is as that host has it, ``hosts`` how many there are, and ``environment``
    is what its processes get beside their own.
    """
    return {
        "environment": dict(environment or {}),
        "config": dump(config),
        "hosts": hosts,
        "needs": [attrs.asdict(need) for need in needs_of(config)],
        "controller": greet().to_message(),
    }


def questions(
    config: Config, names: Sequence[Sequence[str]], forwarded: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """One for each host, by rank; ``names`` are those that it is known by, ``forwarded`` variables for all of them.
    Raises UsageError where agents of the configuration don't go with them.
    """
    asked = []
    for rank, number in enumerate(config.distributed.agents_of(names)):
        own = {} if number is None else config.distributed.agents[number].env
        environment = {**(forwarded or {}), **own}
        asked.append(ask(config.for_host(rank, number), hosts=len(names), environment=environment))
    return asked


def answer(body: Body, *, scratch: str) -> dict[str, Any]:
    """What a host says to :func:`ask`: ``{"findings": […]}``. ``scratch`` is where its workers keep their files.

    The variables of the question are set while it lasts; whoever calls this has seen to it that they may be.
    """
    with variables(body.get("environment", {})):
        return {"findings": [each.to_message() for each in _look(body, scratch)]}


def _look(body: Body, scratch: str) -> list[Finding]:
    own, controller = greet(), Greeting.from_message(body["controller"])
    found = look_at_versions(own, controller)
    missing = list(look_at_plugins([Need(**need) for need in body["needs"]], default_host()))
    found += missing
    if not any(each.level == "error" for each in missing):
        try:
            config = restore(body["config"])
        except ConfigError as error:
            remedy = f"install penstock {controller.version} and its plugins there, as on the controller"
            found += [
                Finding(level="error", subject="configuration", cause=text, remedy=remedy) for text in error.problems
            ]
        else:
            found += preflight(config, hosts=int(body["hosts"]), scratch=scratch)
    return found


def look_at_versions(own: Greeting, controller: Greeting) -> list[Finding]:
    """What this host is, against the controller."""
    text = f"penstock {own.version}, Python {own.python}, {len(own.cpus)} processors"
    found = [Finding(level="info", subject="host", cause=text)]
    if own.protocol != controller.protocol:
        text = f"it speaks protocol {own.protocol}, and the controller {controller.protocol}"
        found.append(Finding(level="error", subject="protocol", cause=text, remedy=_install(controller.version)))
    elif own.version != controller.version:
        text = f"penstock {own.version} here, and {controller.version} on the controller"
        found.append(Finding(level="error", subject="version", cause=text, remedy=_install(controller.version)))
    if _minor(own.python) != _minor(controller.python):
        text = f"Python {own.python} here, and {controller.python} on the controller: hosts may differ in speed"
        remedy = f"use Python {_minor(controller.python)} there"
        found.append(Finding(level="warning", subject="Python", cause=text, remedy=remedy))
    return found


def _install(version: str) -> str:
    return f"run there: pip install penstock=={version}"


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def look_at_plugins(needs: Iterable[Need], plugins: PluginHost) -> Iterator[Finding]:
    """What is missing, broken or of another version here."""
    for need in needs:
        remedy = f"run there: pip install {need.distribution}=={need.version}"
        origin = plugins.origin(need.group, need.name)
        if origin is None:
            text = f"{need.distribution} is not installed, or disabled by PENSTOCK_DISABLE_PLUGINS"
            yield Finding(level="error", subject=need.subject, cause=text, remedy=remedy)
            continue
        try:
            plugins.kind(need.group, need.name)
        except PluginError as error:
            yield Finding(level="error", subject=need.subject, cause=str(error), remedy=remedy)
            continue
        if origin != (need.distribution, need.version):
            text = f"from {' '.join(origin)} here, and {need.distribution} {need.version} on the controller"
            yield Finding(level="warning", subject=need.subject, cause=text, remedy=remedy)


def preflight(config: Config, *, hosts: int, scratch: str, patience: float = PATIENCE_SECONDS) -> list[Finding]:
    """What is in the way of a configuration on this host, one of so many ``hosts``.

    Takes ``patience`` seconds at most for all stores, which are tried at the same time.
    """
    found = look_at_machine(config, hosts=hosts, scratch=scratch)
    try:
        trials = trials_of(config)
    except PenstockError as error:
        cause = Finding(level="error", subject="configuration", cause=str(error), remedy="correct it")
        return [*found, cause]
    return found + _carry_out(trials, patience)


def _carry_out(trials: Sequence[Trial], patience: float) -> list[Finding]:
    """Try every store in a thread of its own: one that hangs keeps nobody."""
    results: dict[int, list[Finding]] = {}

    def one(number: int) -> None:
        results[number] = trials[number].carry_out()

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(len(trials))]
    for thread in threads:
        thread.start()
    waiting = threading.Event()
    timer = threading.Timer(patience, waiting.set)
    timer.daemon = True
    timer.start()
    for thread in threads:
        while thread.is_alive() and not waiting.is_set():
            thread.join(0.1)
    timer.cancel()
    return [each for number, trial in enumerate(trials) for each in results.get(number, [trial.silent(patience)])]


async def inspect(
    questions: Sequence[Body], names: Sequence[str], call: Callable[[int, Body], Awaitable[Body]]
) -> list[Finding]:
    """Ask all hosts at once: ``call`` puts a question to the worker of a rank. Errors first, each with its host.

    A host that does not answer is a finding too.
    """
    found: list[Finding] = []

    async def one(rank: int) -> None:
        cause, remedy = f"it did not answer within {_ANSWER_SECONDS:g} s", "look at its load and at its stores"
        try:
            with anyio.fail_after(PATIENCE_SECONDS + _ANSWER_SECONDS):
                told: Sequence[Mapping[str, Any]] = (await call(rank, questions[rank]))["findings"]
        except TimeoutError:
            told = [{"level": "error", "subject": "preflight", "cause": cause, "remedy": remedy}]
        except PenstockError as error:
            remedy = "look at the worker's log on that host"
            told = [{"level": "error", "subject": "preflight", "cause": str(error), "remedy": remedy}]
        found.extend(attrs.evolve(Finding.from_message(each), host=names[rank]) for each in told)

    async with anyio.create_task_group() as tasks:
        for rank in range(len(questions)):
            tasks.start_soon(one, rank)
    return ordered(found)
