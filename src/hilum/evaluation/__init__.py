"""Metrics, intervals, comparisons, calibration and figures: arrays of truth, scores and groups in, numbers
out.

Knows no torch and no models. Truth is (n,) or (n, labels) in {0, 1, NaN}, where NaN is "unknown" and left out
label by label; scores are (n, labels); groups are patients, whose films are never taken for independent.
"""
