"""The live page: a stream of depth in a browser, through viser (the `view` extra)."""
