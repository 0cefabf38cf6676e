from collections.abc import Sequence
from typing import Any, Literal

DESCRIPTOR: Any

class InfoRequest:
    def __init__(self) -> None: ...
    def SerializeToString(self) -> bytes: ...
    @staticmethod
    def FromString(data: bytes, /) -> InfoRequest: ...

class InfoReply:
    instance: str
    host: str
    penstock: str
    agent: str
    python: str
    protocol: int
    max_sessions: int
    draining: bool
    @property
    def running(self) -> Sequence[Running]: ...
    def __init__(
        self,
        *,
        instance: str = ...,
        host: str = ...,
        penstock: str = ...,
        agent: str = ...,
        python: str = ...,
        protocol: int = ...,
        max_sessions: int = ...,
        running: Sequence[Running] = ...,
        draining: bool = ...,
    ) -> None: ...
    def SerializeToString(self) -> bytes: ...
    @staticmethod
    def FromString(data: bytes, /) -> InfoReply: ...

class Running:
    controller: str
    since_ms: int
    def __init__(self, *, controller: str = ..., since_ms: int = ...) -> None: ...

class Opening:
    controller: str
    protocol: int
    called: str
    def __init__(self, *, controller: str = ..., protocol: int = ..., called: str = ...) -> None: ...

class Opened:
    def __init__(self) -> None: ...

class Piece:
    data: bytes
    last: bool
    def __init__(self, *, data: bytes = ..., last: bool = ...) -> None: ...

class FromController:
    @property
    def opening(self) -> Opening: ...
    @property
    def piece(self) -> Piece: ...
    def __init__(self, *, opening: Opening = ..., piece: Piece = ...) -> None: ...
    def WhichOneof(self, group: Literal["message"], /) -> Literal["opening", "piece"] | None: ...
    def SerializeToString(self) -> bytes: ...
    @staticmethod
    def FromString(data: bytes, /) -> FromController: ...

class FromAgent:
    @property
    def opened(self) -> Opened: ...
    @property
    def piece(self) -> Piece: ...
    def __init__(self, *, opened: Opened = ..., piece: Piece = ...) -> None: ...
    def WhichOneof(self, group: Literal["message"], /) -> Literal["opened", "piece"] | None: ...
    def SerializeToString(self) -> bytes: ...
    @staticmethod
    def FromString(data: bytes, /) -> FromAgent: ...
