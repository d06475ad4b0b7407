"""Maintenance tools, started by `./run`: vulnerability audit, long fault and fuzz tests."""
