"""What tests of the command line share."""

from ..stream.conftest import make_frame  # noqa: F401  a fixture
