"""One module for each section of the configuration: its keys, their defaults and their allowed values.

`model` contains their base classes; `config.settings` composes them.
"""
