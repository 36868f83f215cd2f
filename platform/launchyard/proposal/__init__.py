"""A first spec from a table: what its columns look like, what each kind makes of them, and the file that is written."""
