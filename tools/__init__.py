"""What looks after the project itself: known vulnerabilities, faults and fuzzing at length. `./run` starts each."""
