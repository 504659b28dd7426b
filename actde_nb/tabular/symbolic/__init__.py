"""SymPy derivations, one module a chapter; each function returns the expression that the chapter displays."""
