"""Job files, and folders with a task: what they say, and what they ask of a session."""
