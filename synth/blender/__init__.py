"""Rendering with Blender: the session, building scenes in it, and rendering them."""
