"""The runtime: pipeline, wire format, publisher and subscriber."""
