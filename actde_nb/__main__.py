"""``python -m actde_nb`` is ``actde-nb``."""

from actde_nb.cli import main

if __name__ == "__main__":
    main()
