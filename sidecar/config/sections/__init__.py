"""A file for each section of the configuration: its keys, their defaults and what each may hold.

`model` is what they have in common; `config.settings` composes them.
"""
