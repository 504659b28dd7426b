"""From chapter to page: execute with papermill, compare the numbers, stage, render with jupyter-book."""
