"""Writing tables: TSV, JSON and XLSX, each file whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from penstock.analysis.exporting.tables import Cells, Table
from penstock.errors import UsageError
from penstock.oplog.columns import escape

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

__all__ = ["check_xlsx", "json_text", "save", "tsv_lines", "xlsx_bytes"]

_REMEDY: Final = "an XLSX file needs XlsxWriter; pip install 'penstock[xlsx]'"
_WIDEST: Final = 60
_LONGEST_TEXT: Final = 32_767  # of a cell, by the format
_HEADER: Final = {"bold": True, "bottom": 1}
_DECIMALS: Final = "#,##0.000"
_WHOLE: Final = "#,##0"


def tsv_lines(table: Table) -> Iterator[str]:
    """A header and a line for each row. None is empty; tab, line feed, carriage return and backslash are escaped as in
    an operation log.
    """
    yield "\t".join(table.columns) + "\n"
    for row in table.rows:
        yield "\t".join(map(_text, row)) + "\n"


def _text(cell: str | int | float | None) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.6f}".rstrip("0").rstrip(".")
    return escape(cell) if isinstance(cell, str) else str(cell)


def json_text(facts: Mapping[str, Any], tables: Sequence[Table]) -> str:
    """One object: the facts, and each table under its title as a list of objects; a line for each row.

    A lone surrogate, which stands for a byte of a file name that is no UTF-8, becomes an escape.
    """
    fields = [f"{json.dumps(name)}: {json.dumps(_legal(value), ensure_ascii=False)}" for name, value in facts.items()]
    for table in tables:
        rows = [
            json.dumps(_legal(dict(zip(table.columns, row, strict=True))), ensure_ascii=False, allow_nan=False)
            for row in table.rows
        ]
        listed = "[\n " + ",\n ".join(rows) + "\n]" if rows else "[]"
        fields.append(f"{json.dumps(table.title)}: {listed}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _legal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_legal(name): _legal(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_legal(item) for item in value]
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def check_xlsx() -> None:
    """Raises UsageError where no XLSX file can be written, before hours of reading are lost for it."""
    try:
        import xlsxwriter  # noqa: F401
    except ImportError as error:
        raise UsageError(_REMEDY) from error


def xlsx_bytes(facts: Mapping[str, Any], tables: Sequence[Table]) -> bytes:
    """A workbook with a sheet ``about`` for the facts and one for each table. Text is never taken for a formula or a
    link. Raises UsageError without XlsxWriter.
    """
    check_xlsx()
    import io

    import xlsxwriter

    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"in_memory": True})
    header, decimals, whole = (
        book.add_format(style) for style in (_HEADER, {"num_format": _DECIMALS}, {"num_format": _WHOLE})
    )
    rows = [(name, value if isinstance(value, int | float) else _shown(value)) for name, value in facts.items()]
    for table in (Table("about", ("what", "value"), rows), *tables):
        _fill(book.add_worksheet(table.title), table, header, decimals, whole)
    book.close()
    return file.getvalue()


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(_legal(value), ensure_ascii=False)


def _fill(sheet: Worksheet, table: Table, header: Format, decimals: Format, whole: Format) -> None:
    for column, name in enumerate(table.columns):
        sheet.write_string(0, column, name, header)
        longest = max((len(_text(row[column])) for row in table.rows), default=0)
        sheet.set_column(column, column, min(_WIDEST, max(len(name), longest) + 2))
    for number, row in enumerate(table.rows, 1):
        _write(sheet, number, row, decimals, whole)
    sheet.freeze_panes(1, 0)
    if table.rows:
        sheet.autofilter(0, 0, len(table.rows), len(table.columns) - 1)


def _write(sheet: Worksheet, number: int, row: Cells, decimals: Format, whole: Format) -> None:
    for column, cell in enumerate(row):
        if isinstance(cell, str):
            sheet.write_string(number, column, _legal(cell)[:_LONGEST_TEXT])
        elif cell is not None:
            sheet.write_number(number, column, cell, decimals if isinstance(cell, float) else whole)


def save(path: str, content: str | bytes) -> None:
    """Write a file, which replaces one that is there. Raises UsageError when it can't be written."""
    partial = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        os.replace(partial, path)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error
