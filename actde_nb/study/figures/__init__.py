"""The figures of the chapters, one module for each; :mod:`~actde_nb.study.figures.style` is their common look."""
