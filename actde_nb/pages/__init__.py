"""From chapter to page: glue numbers, execute, compare with the references, stage, render."""
