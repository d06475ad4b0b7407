"""Blender: the one session of a process, scenes built in it, and what it renders."""
