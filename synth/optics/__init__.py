"""Images of a scene at any focus: refocused light fields, conventional frames, and planes in closed form."""
