"""``penstock generate dataset``: files of samples, in the shapes of known workloads."""

from __future__ import annotations

import secrets
from typing import Any

import attrs
import click

from penstock.cli.common import json_option, print_json
from penstock.cli.progress import Bar
from penstock.cli.session import Session, Size, store_command, threads_option
from penstock.errors import UsageError
from penstock.globs import has_wildcard
from penstock_training.datasets.recipes import ENDINGS, SHAPES, Recipe, shape_of
from penstock_training.datasets.writing import Written, file_name, open_recipe, write_dataset

__all__ = ["dataset"]


@click.command()
@click.argument("uri")
@click.option("--like", type=click.Choice(tuple(SHAPES)), default="resnet50", show_default=True, help="Whose shape.")
@click.option("--files", type=click.IntRange(min=1), default=1, show_default=True, help="How many files.")
@click.option("--samples", type=click.IntRange(min=1), help="Samples in each file. Default: as --like has.")
@click.option("--format", "form", type=click.Choice(tuple(ENDINGS)), help="Of the files. Default: as --like has.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiplies the bytes of a sample.")
@click.option("--record-size", type=Size(), help="Bytes of a sample, all alike, instead of those of --like.")
@click.option("--prefix", default="img", show_default=True, help="How names of files begin.")
@click.option("--subfolders", type=click.IntRange(min=0), default=0, show_default=True, help="Deal files to so many.")
@click.option("--seed", type=click.IntRange(min=0), help="Generate the same dataset again. Default: a new one.")
@json_option
@threads_option
@store_command
def dataset(
    session: Session,
    uri: str,
    like: str,
    files: int,
    samples: int | None,
    form: str | None,
    scale: float,
    record_size: int | None,
    prefix: str,
    subfolders: int,
    seed: int | None,
    as_json: bool,
    threads: int,
) -> None:
    """Write a dataset to train on below URI: files of unique bytes, named as DLIO names them.

    The same seed gives the same files, whatever the number of threads. `penstock generate URI`, without the word
    dataset, writes plain objects; a directory named dataset is ./dataset there.
    """
    chosen = secrets.randbits(31) if seed is None else seed
    try:
        recipe = shape_of(like, format=form, samples=samples, scale=scale, seed=chosen)
        recipe = attrs.evolve(recipe, prefix=prefix)
        if record_size is not None:
            recipe = attrs.evolve(recipe, record_bytes=float(record_size), record_stdev=0.0)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if has_wildcard(uri) or "/" in prefix:
        raise UsageError(f"{uri}: files are written below a directory, which is no glob, with a prefix without /")
    open_recipe(recipe)
    options = session.options_for(uri)[uri]
    with Bar("generating", nbytes=_content(recipe, files)) as bar:
        written = write_dataset(
            uri,
            recipe,
            files,
            subfolders=subfolders,
            threads=threads,
            options=options or None,
            done=lambda each: bar.object_done(each.nbytes),
        )
    _report(uri, recipe, written, bar, subfolders, as_json=as_json)


def _content(recipe: Recipe, files: int) -> int:
    return int(recipe.record_bytes * recipe.samples_per_file * files)


def _report(uri: str, recipe: Recipe, written: Written, bar: Bar, subfolders: int, *, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "uri": uri,
        "format": recipe.format,
        "files": written.files,
        "samples": written.samples,
        "bytes": written.nbytes,
        "first": file_name(recipe, 0, written.files, subfolders),
        "seed": recipe.seed,
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"wrote {bar.summary()}", err=True)
    click.echo(f"{written.samples:,} samples in {facts['first']} and so on; again with --seed {recipe.seed}", err=True)
