"""Images of a scene at any focus: from a light field, for a conventional camera, and of planes in closed form."""
