"""``acme://`` for penstock."""
