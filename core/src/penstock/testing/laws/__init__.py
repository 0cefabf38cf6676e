"""The laws of a store, one deterministic example or a few for each."""
