"""How a function is computed: lowering, plan, C and torch text, compiler, cache and dispatch."""
