"""Depth against truth: methods, baselines, how errors are broken down, tables and the report."""
