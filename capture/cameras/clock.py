"""The offset between a source's clock and the host's."""

WINDOW_NS = 5_000_000_000


class HostClock:
    """Estimates the offset of a live source's clock to the host's from the batches with the least delay.

    Over seconds, the transport delay varies far more than clocks drift, and it is never negative, so the least lag of
    the last five to ten seconds is the best estimate.
    """

    def __init__(self) -> None:
        self._least_ns: int | None = None  # host time minus source time, in the previous window
        self._least_now_ns: int | None = None
        self._since_ns = 0

    def observe(self, sensor_us: int, monotonic_ns: int) -> None:
        """Record that everything before a source time had arrived at a host time."""
        lag_ns = monotonic_ns - 1000 * sensor_us
        if self._least_now_ns is None or monotonic_ns - self._since_ns > WINDOW_NS:
            self._least_ns, self._least_now_ns, self._since_ns = self._least_now_ns, lag_ns, monotonic_ns
        self._least_now_ns = min(self._least_now_ns, lag_ns)

    def forget(self) -> None:
        """Reset, because the source's clock has changed."""
        self._least_ns = self._least_now_ns = None

    def sensor_us(self, monotonic_ns: int) -> int | None:
        """The source's time at a host time; None before the first observation."""
        lags = [lag for lag in (self._least_ns, self._least_now_ns) if lag is not None]
        return (monotonic_ns - min(lags)) // 1000 if lags else None
