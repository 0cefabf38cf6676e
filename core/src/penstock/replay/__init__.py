"""Replaying operation logs: the same calls, at the recorded times or as fast as possible, against any backend."""
