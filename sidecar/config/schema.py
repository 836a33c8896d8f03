"""The JSON Schema (draft 2020-12) of the configuration file, for editors and for checks before a deployment.

The schema is derived from the models of `config.settings`, and the texts are the docstrings below their fields. It accepts
every file that the sidecar accepts. The sidecar itself checks more, such as rules between fields and what files contain.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel

from sidecar.config.former_names import FORMER
from sidecar.config.settings import Settings
from sidecar.config.values import KIND
from sidecar.config.written import as_in_the_file

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = {
    "type": "string",
    "pattern": r"\$\{(env|file):[^}]*\}",
    "description": "A value that stands elsewhere: ${env:NAME} or ${file:PATH}, relative to the configuration file.",
}
_LIMITS: Final = ("pattern", "enum", "const", "minLength", "maxLength", "format")
_SHORT: Final = {"Listen": "address", "Credentials": "places"}
"""Sections that have a short form: the value of one key in the place of the section."""


def json_schema() -> dict[str, Any]:
    """The schema, as values of JSON."""
    generated = Settings.model_json_schema()
    sections: dict[str, Any] = generated.pop("$defs")
    for model in models(Settings):
        section = generated if model is Settings else sections[model.__name__]
        for name, text in field_texts(model).items():
            section["properties"][name] = _described(section["properties"][name], text)
    for former, current in FORMER.items():
        section, key = former.split(".")
        properties = sections[section.title()]["properties"]
        properties[key] = {"type": "string", "deprecated": True, "description": f"The former name of {current}."}
    for name, key in _SHORT.items():
        sections[name] = {"anyOf": [sections[name]["properties"][key], sections[name]]}
    whole = {"$schema": _DIALECT, "title": "auth-sidecar", **generated, "$defs": sections}
    simplified: dict[str, Any] = _simplified(whole)
    used = str(simplified)
    simplified["$defs"] = {name: each for name, each in simplified["$defs"].items() if f"/{name}'" in used}
    simplified["$defs"]["Reference"] = _REFERENCE
    return simplified


def models(root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and all below it, each once."""
    found = {root: None}
    for model in [root]:
        for field in model.model_fields.values():
            for nested in _models_in(field.annotation):
                found |= dict.fromkeys(models(nested))
    yield from found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models_in(each)


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings below the fields of a model, by field, each as one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101  for mypy
    texts = {}
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
    return texts


def _described(schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {**schema, "description": text}


def _simplified(node: Any) -> Any:
    """Write defaults as in the file, let references stand for strings, and drop what tells a reader nothing."""
    if isinstance(node, list):
        return [_simplified(each) for each in node]
    if not isinstance(node, dict):
        return node
    kind, default = node.get(KIND), node.get("default")
    kept = {name: value for name, value in node.items() if not _is_noise(name, value)}
    node = {
        name: value if name in ("default", "enum", "examples") else _simplified(value) for name, value in kept.items()
    }
    if "default" in node:
        node["default"] = as_in_the_file(kind, default)
    return _or_reference(node) if node.get("type") == "string" and node.keys() & set(_LIMITS) else node


def _is_noise(name: str, value: object) -> bool:
    return (
        name in (KIND, "writeOnly")
        or (name == "title" and isinstance(value, str) and value != "auth-sidecar")
        or (name == "default" and (value is None or value == [] or isinstance(value, dict)))
    )


def _or_reference(node: dict[str, Any]) -> dict[str, Any]:
    limits = {name: value for name, value in node.items() if name in (*_LIMITS, "type")}
    rest = {name: value for name, value in node.items() if name not in limits}
    return {**rest, "anyOf": [limits, {"$ref": "#/$defs/Reference"}]}
