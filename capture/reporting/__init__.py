"""Figures, and pages of HTML."""
