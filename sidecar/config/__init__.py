"""The configuration: one YAML file in, frozen models out, or every fault at once.

The map::

    load ──► document       YAML, with ${env:…} and ${file:…} resolved
         ──► references     texts that stand for a value and were never filled in
         ──► settings       the whole file as one model ──► sections/  a file for each section ──► values
         ──► checks         what spans sections
         ──► descriptions   pydantic's errors as faults of the file

- `faults` says what a fault is; `templates` looks at the operator's pages; `advice` warns of a valid file.
- Rules that are not about the file are in `core` (its `client_rules`, `key_rules`, `route_rules` and `names`): an API
  that registers clients can call them too.
- Other packages import the models from `config.settings` and reading from `config.load`.
"""
