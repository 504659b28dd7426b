"""Your own model: a tiny one to try everything on, three pitfalls measured on it, and the page's figures."""
