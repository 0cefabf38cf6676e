"""Texts of columns as numbers: operations, clients and endpoints."""

from __future__ import annotations

from typing import Final

import numpy as np

from penstock.oplog.cells import Array, Text, TextTable
from penstock.oplog.columns import OPERATIONS, unescape
from penstock.records import Op

__all__ = ["HEAD", "Callers", "Names", "Operations", "op_code", "op_name"]

#: The code of HEAD, which other programs write for STAT; the others have that of :class:`penstock.records.Op`.
HEAD: Final = len(Op) + 1

#: Different cells after which a table begins anew, so that it stays small.
_MOST_CELLS: Final = 1000
_MOST_CALLERS: Final = 4096


def op_code(name: str) -> int:
    """The number of one of :data:`penstock.oplog.OPERATIONS`."""
    return HEAD if name == "HEAD" else int(Op[name])


def op_name(code: int) -> str:
    """The operation of this number."""
    return "HEAD" if code == HEAD else Op(code).name


class Names:
    """The texts of a column, numbered. Codes are places in ``texts``, which only grows."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._index: dict[str, int] = {}
        self._table = TextTable()
        self._codes: Array = np.zeros(0, np.int64)  # of the cells in the table

    def code(self, text: str) -> int:
        """The number of a text."""
        code = self._index.get(text)
        if code is None:
            code = self._index[text] = len(self.texts)
            self.texts.append(text)
        return code

    def codes(self, text: Text, begins: Array, ends: Array) -> Array:
        """The number of each cell's text, -1 for one that is not in UTF-8."""
        cells = self._table.codes(text, begins, ends)
        known = len(self._codes)
        if len(self._table.cells) > known:
            new = [self.code_of(cell) for cell in self._table.cells[known:]]
            self._codes = np.concatenate([self._codes, np.array(new, np.int64)])
        codes: Array = self._codes[cells]
        return codes

    def code_of(self, cell: bytes) -> int:
        """The number of a cell's text, -1 if it is not in UTF-8."""
        try:
            return self.code(unescape(cell.decode()))
        except UnicodeDecodeError:
            return -1


class Operations:
    """The codes of operations' names, as they stand in a log."""

    def __init__(self) -> None:
        self._table = TextTable()
        self._codes: Array = np.zeros(0, np.uint8)

    def codes(self, text: Text, begins: Array, ends: Array) -> Array:
        """The code of each cell, 0 for what is no operation."""
        if len(self._table.cells) > _MOST_CELLS:
            self.__init__()  # type: ignore[misc]
        cells = self._table.codes(text, begins, ends)
        known = len(self._codes)
        if len(self._table.cells) > known:
            new = [_op_code_of(cell) for cell in self._table.cells[known:]]
            self._codes = np.concatenate([self._codes, np.array(new, np.uint8)])
        codes: Array = self._codes[cells]
        return codes


def _op_code_of(cell: bytes) -> int:
    name = cell.decode(errors="replace").upper()
    return op_code(name) if name in OPERATIONS else 0


class Callers:
    """Operations and clients, whose columns stand side by side, as one: there are few different pairs."""

    def __init__(self) -> None:
        self._table = TextTable()
        self._names: Names | None = None
        self._ops: Array = np.zeros(0, np.uint8)
        self._clients: Array = np.zeros(0, np.int64)

    def codes(self, clients: Names, text: Text, begins: Array, ends: Array) -> tuple[Array, Array]:
        """Operations, 0 for what is none, and clients, as :class:`Names` numbers them; each cell holds both."""
        if clients is not self._names or len(self._table.cells) > _MOST_CALLERS:
            self.__init__()  # type: ignore[misc]
            self._names = clients
        cells = self._table.codes(text, begins, ends)
        for cell in self._table.cells[len(self._ops) :]:
            op, client = cell.split(b"\t")
            self._ops = np.append(self._ops, np.uint8(_op_code_of(op)))
            self._clients = np.append(self._clients, clients.code_of(client))
        return self._ops[cells], self._clients[cells]
