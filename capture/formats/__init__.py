"""What a file is, by its content: the formats of recordings, and the other kinds of files."""
