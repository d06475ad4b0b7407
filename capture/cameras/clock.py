"""The offset between a source's clock and the host's."""

WINDOW_NS = 5_000_000_000


class HostClock:
    """Relates the clock of a live source to the host's, by the batches that were quickest to come.

    What a batch takes to come varies by far more than clocks drift in seconds, and is never negative: so the least
    lag of the last five to ten seconds is the best guess.
    """

    def __init__(self) -> None:
        self._least_ns: int | None = None  # host time less source time, of the window before
        self._least_now_ns: int | None = None
        self._since_ns = 0

    def observe(self, sensor_us: int, monotonic_ns: int) -> None:
        """Record that all up to a source's time had arrived at a time of the host."""
        lag_ns = monotonic_ns - 1000 * sensor_us
        if self._least_now_ns is None or monotonic_ns - self._since_ns > WINDOW_NS:
            self._least_ns, self._least_now_ns, self._since_ns = self._least_now_ns, lag_ns, monotonic_ns
        self._least_now_ns = min(self._least_now_ns, lag_ns)

    def forget(self) -> None:
        """Reset, because the source's clock has changed."""
        self._least_ns = self._least_now_ns = None

    def sensor_us(self, monotonic_ns: int) -> int | None:
        """The source's time at a time of the host; None while nothing was seen."""
        lags = [lag for lag in (self._least_ns, self._least_now_ns) if lag is not None]
        return (monotonic_ns - min(lags)) // 1000 if lags else None
