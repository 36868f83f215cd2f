"""Sources: one resolver from URIs to rows and model folders."""
