"""Scenes, rendering and the sensor model: synthetic focal-sweep recordings with ground truth."""
