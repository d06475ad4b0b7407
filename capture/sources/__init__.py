"""Worker processes that decode and encode events, the shared-memory ring between, and checks of all data read."""
