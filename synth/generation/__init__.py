"""Generation of datasets: configuration, random parameters of each scene, and the job that runs it."""
