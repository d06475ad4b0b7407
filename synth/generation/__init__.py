"""Datasets: their configuration, the parameters drawn for each scene, and the generation job."""
