"""Broken stores, each by one defect, that the conformance kit has to catch."""
