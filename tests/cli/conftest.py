"""Fixtures for tests of the command line."""

from ..stream.conftest import make_frame  # noqa: F401  a fixture
