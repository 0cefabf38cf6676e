"""Runs the kit over the mutants and says what killed each. A class's first failure ends the class."""

from __future__ import annotations

import gc
import itertools
import json
import os
from pathlib import Path

import pytest


class FirstFailures:
    """Writes down the first test that fails of each class, in which phase, and the seconds that the class took."""

    def __init__(self, answer):
        self.answer = answer
        self.found = {}
        self.seconds = {}

    def pytest_collection_modifyitems(self, items):
        # The histories take longest and kill what nothing else does; sorting keeps the classes together. A mutant
        # that names the law which it breaks meets that first.
        order = {kind: at for at, kind in enumerate(dict.fromkeys(item.cls for item in items))}

        def elsewhere(item):
            law = getattr(item.cls, "law", "")
            return bool(law) and not item.function.__module__.endswith(law)

        items.sort(key=lambda item: (order[item.cls], elsewhere(item), item.name == "test_any_history"))

    def pytest_runtestloop(self, session):
        # Thousands of collected tests make each gc.collect() of the kit slow.
        gc.collect()
        gc.freeze()
        classes = [list(items) for _, items in itertools.groupby(session.items, key=lambda item: item.cls)]
        for items, following in itertools.zip_longest(classes, [items[0] for items in classes[1:]]):
            name = items[0].cls.__name__
            for item in items:
                # A next test of another class has pytest take down what this one has set up.
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if name in self.found:
                    break
        return True

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.split("::")[1]
        self.seconds[name] = self.seconds.get(name, 0.0) + report.duration
        if report.failed and name not in self.found:
            self.found[name] = [report.nodeid.split("::")[2], report.when, str(report.longrepr)[-2000:]]

    def pytest_sessionfinish(self):
        verdicts = {name: [self.found.get(name), seconds] for name, seconds in self.seconds.items()}
        self.answer.write_text(json.dumps(verdicts))


def run(part, parts, answer, over="over_mutants.py"):
    """Run the kit over one share of the stores; ``answer`` gets, by class, the first failure or null."""
    os.environ["MUTANTS_PART"] = f"{part}/{parts}"
    module = str(Path(__file__).with_name(over))
    arguments = [module, "-c", os.devnull, "-q", "-p", "no:cacheprovider", "-W", "error", "--tb=line"]
    return pytest.main(arguments, plugins=[FirstFailures(Path(answer))])
