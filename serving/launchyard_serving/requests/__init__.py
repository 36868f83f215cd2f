"""Request bodies and errors: limits, parsing, problem documents."""
