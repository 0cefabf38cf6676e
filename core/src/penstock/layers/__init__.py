"""Wrappers around any store, each of which satisfies the same contract and passes the same kit.

They may be put on in any order; :func:`penstock.layers.stack.apply` does it in the one that makes sense. From the
backend outwards:

1. ``faults``, as if the backend failed: everything above has to cope with it.
2. ``endpoints``, which moves a failed call to another endpoint; each endpoint has faults of its own.
3. ``retry``, when all endpoints have failed. It repeats single requests, so it lies below whatever makes several.
4. ``sizes``, which ``ranges`` asks for what it knows.
5. ``ranges``: each range is a request that is retried, and that goes to an endpoint, by itself.
6. ``verify``, which compares what is stored with what was sent to the store.
7. ``compression``: what is below it is stored, what is above it is the user's.
8. ``checksums``, over the user's bytes.

``prefix`` lies beneath them all, so that keys in rules are those that the user writes. ``switch`` and the metering of
calls lie above, so that one call of the user's is one record. A layer's errors name the object as whoever called it
knows it, and keep the URI and the cause that came from below.
"""
