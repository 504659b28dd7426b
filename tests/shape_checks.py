"""How arguments and shapes are checked at run time in the tests; named in pyproject.toml."""

from beartype import BeartypeConf, beartype

#: An int passes for a float, as PEP 484 has it.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
