"""Hints for files that do not describe themselves: column order and time unit of text and arrays, and sensor size."""

from dataclasses import dataclass

from ..errors import RecordingError

NO_SIZE = (
    "it does not say how large its sensor is; give the camera's lens.toml with --lens, or to `info` and `convert` "
    "--size WIDTHxHEIGHT"
)

UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Units of time and how many nanoseconds each has."""


@dataclass(frozen=True)
class TableHints:
    """How to read a file that does not describe itself; None: inferred from the file.

    - `columns`: the columns in their order, such as "t,x,y,p"; "-" stands for a column that is not needed.
    - `time_unit`: "s", "ms", "us" or "ns".
    - `size`: width and height of the sensor in pixels.

    Raises:
        RecordingError: a value is not one of these.
    """

    columns: str | None = None
    time_unit: str | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.columns is not None:
            self.places(self.columns)
        if self.time_unit is not None and self.time_unit not in UNITS:
            raise RecordingError(f"--time-unit {self.time_unit}: expected one of {', '.join(UNITS)}")

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.columns, self.time_unit, self.size))

    @staticmethod
    def places(columns: str) -> dict[str, int]:
        """The column numbers of t, x, y and p in `columns`.

        Raises:
            RecordingError: one of them is missing or repeated, or a name is unknown.
        """
        names = [name.strip().lower() for name in columns.split(",")]
        if sorted(name for name in names if name != "-") != ["p", "t", "x", "y"]:
            raise RecordingError(
                f"--columns {columns}: expected t, x, y and p, each once, in the file's order, such as t,x,y,p; "
                "- stands for a column that is not needed"
            )
        return {name: at for at, name in enumerate(names) if name != "-"}


NO_HINTS = TableHints()
