"""Scene descriptions, and random sampling of procedural scenes."""
