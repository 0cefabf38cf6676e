"""Runs that look for something: the highest rate that still meets a goal, or the settings that serve best."""

from penstock.tuning.goals import Goal, parse_goal
from penstock.tuning.search import Step, highest_rate
from penstock.tuning.sweep import Vary, best_of, parse_vary, settings_of
from penstock.tuning.trials import Judged, Trial, judge, make_trial

__all__ = [
    "Goal",
    "Judged",
    "Step",
    "Trial",
    "Vary",
    "best_of",
    "highest_rate",
    "judge",
    "make_trial",
    "parse_goal",
    "parse_vary",
    "settings_of",
]
