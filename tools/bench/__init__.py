"""Side-by-side measurements: every number is a ratio to a named alternative, timed in the same process."""
