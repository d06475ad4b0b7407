"""Where events come from and go to: a process each, the ring between, and the check of all that comes through."""
