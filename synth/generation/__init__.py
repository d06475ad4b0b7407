"""Datasets: what is drawn for each scene, and the job that makes them, process by process."""
