"""Figures, and HTML pages."""
