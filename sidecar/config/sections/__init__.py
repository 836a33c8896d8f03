"""One module for each section of the configuration: its keys, their defaults and their allowed values.

`model` contains the base classes of all sections. `config.settings` combines the sections.
"""
