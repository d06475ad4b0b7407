"""Events, recordings, optics and calibration, sweeps, and the event focal stack."""
