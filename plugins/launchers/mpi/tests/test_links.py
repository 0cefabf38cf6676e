"""Frames between two ranks."""

from __future__ import annotations

import json


def test_frames_arrive_whole_and_in_order_and_idle_ranks_rest(run_job, program):
    done = run_job(2, *program("links"))
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["right"], "a frame was lost, changed, or came out of order"
    assert (told["after"], told["refused"]) == (None, True)
    assert max(told["idle"], told["idle_there"]) < 0.02
