"""What a function is: graph, table of primitives, parsing, tracing, derivatives, stable rewrites, limits."""
