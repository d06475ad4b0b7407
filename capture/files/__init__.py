"""Files other than recordings, what a file holds, and turning one kind into another."""
