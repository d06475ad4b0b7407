"""What is in a scene, and what chance puts there."""
