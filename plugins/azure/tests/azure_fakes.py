"""A client that sends nothing: it keeps the heads it was given, and answers what it was told."""

from __future__ import annotations

from collections import deque

from penstock_azure.plugin import AzureOptions
from penstock_azure.store import AzureStore

KEY = "c2VjcmV0LW1hcmtlci1vZi10aGUtYWNjb3VudC1rZXk="


class FakeAnswer:
    """What the store reads of an answer."""

    def __init__(self, status=200, headers=None, body=b""):
        self.status = status
        self.headers = {"content-length": str(len(body))} | (headers or {})
        self.header = self.headers.get
        self.length = len(body)
        self.body = body
        self.retry_after = None

    def into(self, sink):
        if self.body:
            sink.write(self.body)
        return len(self.body)

    def read(self, limit=1 << 20):
        return self.body

    def close(self):
        pass


class FakeClient:
    """Answers in the order of ``answers``, then always the last."""

    def __init__(self, *answers):
        self.answers = deque(answers)
        self.sent = []
        self.bodies = []

    def send(self, head, body=None, *, replay=True):
        self.sent.append(head)
        self.bodies.append(None if body is None else bytes(body))
        return self.answers.popleft() if len(self.answers) > 1 else self.answers[0]

    def close(self):
        pass


def fake_store(*answers, **options):
    """A store that speaks to a fake client, and the client."""
    # Over plain http no certificates are loaded for each store; the host is the account's, as Azure's are.
    given = {"account": "acme", "container": "box", "account_key": KEY, "endpoint": "http://acme.localhost"} | options
    store = AzureStore(AzureOptions(**given))
    client = FakeClient(*(answers or (FakeAnswer(),)))
    store._container.client = client
    return store, client


def parsed(head):
    """Verb, target and header fields of a request's head."""
    lines = head.decode("ascii").split("\r\n")
    assert lines[-2:] == ["", ""]
    verb, target, version = lines[0].split(" ")
    assert version == "HTTP/1.1"
    fields = [line.partition(":")[::2] for line in lines[1:-2]]
    assert len({name.lower() for name, _ in fields}) == len(fields)
    return verb, target, {name: value.strip() for name, value in fields}
