"""Results for people: on a terminal and in a notebook."""
