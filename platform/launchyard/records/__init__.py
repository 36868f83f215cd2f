"""What must never be lost, in SQL: versions, what serves, feedback, events."""
