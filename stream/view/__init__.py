"""The live page: a depth stream or file in a browser, with viser (the `view` extra)."""
