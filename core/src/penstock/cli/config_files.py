"""``penstock config convert`` and ``show``: rewriting a file of older tools, and what a file comes to."""

from __future__ import annotations

import os

import click

from penstock.cli.common import json_option, print_json

__all__ = ["convert", "show"]


@click.command()
@click.argument("file", metavar="OLD.yaml", type=click.Path())
@click.option("-o", "--output", metavar="NEW.yaml", type=click.Path(), help="Write to this new file, not to stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say what became of the keys; the comments in the file do.")
def convert(file: str, output: str | None, quiet: bool) -> None:
    """Rewrite a file of s3-bench or sai3-bench in penstock's keys.

    Says on stderr, with the place in the old file, what each key became and which were left out and why; the same
    stands as comments in the new file. What can't be taken over is an error, and then nothing is written. OLD.yaml
    may be - for standard input.
    """
    from penstock.errors import ConfigError
    from penstock.workload.config import convert as rewrite

    try:
        converted = rewrite(file, environ=os.environ)
    except ConfigError as error:
        click.echo("\n".join(error.problems), err=True)
        raise click.exceptions.Exit(2) from None
    if output is None:
        click.echo(converted.text, nl=False)
    else:
        _write(output, converted.text)
    if not converted.older:
        click.echo(f"{file}: has no keys of older tools; unchanged", err=True)
    elif not quiet:
        click.echo("\n".join(converted.notes), err=True)


def _write(path: str, text: str) -> None:
    from penstock.errors import UsageError

    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already; name another file, or remove it") from None
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error


@click.command()
@click.argument("file", type=click.Path())
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Replace one key, such as seed=7.")
@json_option
def show(file: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print what FILE comes to, as a workload file that needs no other.

    Includes are put together, variables and --set are in it, older keys are rewritten, and every default is written
    out. Secrets are shown as ***. FILE may be - for standard input.
    """
    from penstock.errors import ConfigError
    from penstock.workload.config import dump, load
    from penstock.workload.documents import Mark, from_plain
    from penstock.workload.writing import write_yaml

    try:
        loaded = load(file, overrides=overrides, environ=os.environ)
    except ConfigError as error:
        click.echo("\n".join(error.problems), err=True)
        raise click.exceptions.Exit(2) from None
    data = dump(loaded.config, secrets=False) | {"name": loaded.name}
    for note in loaded.notes:
        click.echo(note, err=True)
    if as_json:
        print_json(data)
    else:
        click.echo(write_yaml(from_plain(data, Mark(file))), nl=False)
