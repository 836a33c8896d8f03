"""The configuration: one YAML file in, frozen models out, or every fault at once.

The map::

    load ──► document       YAML, with ${env:…} and ${file:…} resolved
         ──► references     unresolved references and placeholders
         ──► settings       the whole file as one model ──► sections/  a file for each section ──► values
         ──► checks         checks that span sections
         ──► descriptions   pydantic's errors as faults of the file

- `faults` defines a fault; `templates` checks the operator's pages; `advice` warns about valid files.
- Rules that are not about the file are in `core` (`oauth.client_rules`, `jose.key_rules`, `route_rules`, `oauth.names`): an API
  that registers clients can call them too.
- Other packages import the models from `config.settings`, and the functions that read a file from `config.load`.
"""
