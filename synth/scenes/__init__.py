"""What is in a scene, and how scenes are sampled."""
