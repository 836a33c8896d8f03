"""Checks the operator's templates for the login pages before they are used."""

from pathlib import Path

from jinja2 import Environment, TemplateSyntaxError


def template_fault(folder: Path) -> str | None:
    """The fault of the folder's templates or style sheet; `None` if there is none."""
    for path in sorted(folder.glob("*.html")):
        try:
            Environment(autoescape=True).parse(path.read_text("utf-8"))
        except TemplateSyntaxError as exc:
            return f"{path.name}, line {exc.lineno}: {exc.message}"
        except (OSError, ValueError):
            return f"{path.name} cannot be read as UTF-8 text"
    style = folder / "style.css"
    try:
        if style.exists() and "</style" in style.read_text("utf-8").lower():
            return "style.css holds </style"
    except (OSError, ValueError):
        return "style.css cannot be read as UTF-8 text"
    return None
