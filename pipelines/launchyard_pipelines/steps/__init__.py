"""What each step of the pipeline does, as plain functions; a module a step, so that each loads only its own."""
