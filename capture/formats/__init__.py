"""Recognises files by content: recording formats, and other kinds of files."""
