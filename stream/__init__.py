"""The runtime: pipeline, replay and live, wire format, and the live page."""
