"""Evaluation against ground truth: methods, baselines, error breakdown, tables and the report."""
