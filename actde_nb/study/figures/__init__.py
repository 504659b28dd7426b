"""The figures of the chapters, one module for each; :mod:`~actde_nb.pages.style` is their common look."""
