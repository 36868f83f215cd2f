"""What each step of the pipeline does, as plain functions over the core; one module a step, so each loads only its own."""
