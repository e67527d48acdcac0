"""Tasks as data: what a task file says, where its examples are, and how upstream rows become examples."""
