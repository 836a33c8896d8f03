"""The configuration: reads one YAML file and returns frozen models, or reports every fault at once.

The map::

    load ──► document       YAML, with ${env:…} and ${file:…} resolved
         ──► references     finds placeholders that were never filled in
         ──► settings       the whole file as one model ──► sections/  a module for each section ──► values
         ──► checks         rules that span sections
         ──► descriptions   pydantic's errors as faults of the file

- `faults` defines a fault. `templates` checks the operator's page templates. `advice` gives warnings about a valid file.
- Rules that do not concern the file itself are in `core` (its `client_rules`, `key_rules`, `route_rules` and `names`), so
  that an API that registers clients can call them too.
- Other packages import the models from `config.settings`, and the functions that read the file from `config.load`.
"""
