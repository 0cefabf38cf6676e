"""``penstock config``: check workload files, show and rewrite them, and print their schema for editors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common import json_option, print_json
from penstock.cli.config_files import convert, show

if TYPE_CHECKING:
    from penstock.workload.config import Config, Loaded, Stage

__all__ = ["config", "describe_run"]


@click.group()
def config() -> None:
    """Check workload files, show what they come to, rewrite old ones, and print their schema."""


config.add_command(convert)
config.add_command(show)


@config.command()
@click.argument("file", type=click.Path())
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Replace one key, such as seed=7.")
@json_option
@click.pass_context
def check(ctx: click.Context, file: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Read FILE as penstock run would, and say what it describes.

    Prints every problem, with its place in the file, and exits with 2 when there are any. FILE may be - for standard
    input. With --json the whole configuration is printed, every default written out.
    """
    from penstock.engine.contents import content_limits
    from penstock.errors import ConfigError
    from penstock.workload.config import dump, load

    try:
        loaded = load(file, overrides=overrides, environ=os.environ)
    except ConfigError as error:
        # One line each and nothing before it, so that editors find the place.
        click.echo("\n".join(error.problems), err=True)
        ctx.exit(2)
    if as_json:
        print_json({"name": loaded.name, "config": dump(loaded.config, secrets=False)})
        return
    for note in (*loaded.notes, *content_limits(loaded.config)):
        click.echo(note, err=True)
    click.echo(f"{file}: ok")
    for label, text in describe_run(loaded):
        click.echo(f"  {label:<12} {text}")


@config.command()
def schema() -> None:
    """Print the JSON Schema of workload files.

    For editors with the YAML language server: save it, and begin a workload file with the line
    "# yaml-language-server: $schema=workload.schema.json".
    """
    import json

    from penstock.workload.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def describe_run(loaded: Loaded) -> list[tuple[str, str]]:
    """What a configuration describes, as labels and texts."""
    config = loaded.config
    total = sum(operation.weight for operation in config.workload) or 1.0
    rows = [("name", loaded.name), ("target", config.target or "none; every path is a URI"), ("ends", _end(config))]
    rows.append(("concurrency", f"{config.concurrency} in flight, processes: {config.processes}, {_rate(config)}"))
    rows += [(operation.op, f"{operation.weight / total:6.1%}  {operation.path}") for operation in config.workload]
    rows += [("stage", _stage(config, stage)) for stage in config.stages]
    if config.repeat > 1:
        rows.append(("repeat", f"{config.repeat} times"))
    rows += [("prepare", text) for text in _prepared(config)]
    rows.append(("cleanup", "what the run created" if config.cleanup else "nothing"))
    return rows + _hosts(config)


def _hosts(config: Config) -> list[tuple[str, str]]:
    """The launcher where it is not the usual one, and what is special of each host that is named."""
    distributed = config.distributed
    rows = [("launcher", config.launcher.name)] if config.launcher.name != "local" or config.launcher.options else []
    if distributed.hosts is not None:
        shared = "each with objects of its own" if distributed.own_namespaces else "which share the objects"
        rows.append(("hosts", f"{distributed.hosts}, {shared}; path_selection: {distributed.path_selection}"))
    for number, agent in enumerate(distributed.agents):
        own = [agent.address or agent.host or "the host in this place"]
        own += [f"target {agent.target}"] if agent.target is not None else []
        own += [f"{agent.concurrency} in flight"] if agent.concurrency is not None else []
        own += [f"sets {', '.join(agent.env)}"] if agent.env else []
        rows.append((f"agent {agent.label(number)}", ", ".join(own)))
    return rows


def _end(config: Config) -> str:
    from penstock.quantities import format_duration

    ends = []
    if config.duration is not None:
        ends.append(f"after {format_duration(config.duration)}")
    if config.total_operations is not None:
        ends.append(f"after {config.total_operations} operations")
    if config.stop_when_stable is not None:
        stable = config.stop_when_stable
        what = " and ".join(stable.metrics)
        ends.append(f"when {what} were stable for {format_duration(stable.window)}")
    text = " or ".join(ends) or "when every object was taken once"
    text += f", after a warm-up of {format_duration(config.warmup)}" if config.warmup else ""
    return text + (f", with a cool-down of {format_duration(config.cooldown)}" if config.cooldown else "")


def _stage(config: Config, stage: Stage) -> str:
    whole = config.of_stage(stage)
    operations = ", ".join(operation.op for operation in whole.workload)
    barrier = f"; barrier: {stage.barrier}" if stage.barrier else ""
    return f"{stage.name}: {operations}; {whole.concurrency} in flight, {_rate(whole)}; ends {_end(whole)}{barrier}"


def _rate(config: Config) -> str:
    if config.rate is None:
        return "as fast as possible"
    return config.rate.text


def _prepared(config: Config) -> list[str]:
    texts = [_objects(objects) for objects in config.prepare.ensure_objects]
    tree = config.prepare.directory_structure
    if tree is not None:
        from penstock.workload.names import Tree

        plan = Tree.of(tree, "")
        texts.append(f"{plan.directories.count} directories with {plan.count} files {_volume(plan.count, tree)}")
    return texts


def _objects(objects: Any) -> str:
    return f"{objects.count} objects {_volume(objects.count, objects)} under {objects.path or 'target'}"


def _volume(count: int, entry: Any) -> str:
    from penstock.quantities import format_bytes
    from penstock.workload.formatting import object_size
    from penstock.workload.sizes import Fixed, mean

    size = object_size(entry)
    about = "" if isinstance(size, Fixed) else "about "
    return f"({about}{format_bytes(count * mean(size))})"
