"""Wrappers around any store, each of which satisfies the same contract and passes the same kit."""
