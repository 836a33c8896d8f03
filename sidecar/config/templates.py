"""Checks the operator's templates for the login pages before any user sees them."""

from pathlib import Path


def template_fault(folder: Path) -> str | None:
    """Return the first fault in the folder's templates and style sheet, or `None` when there is none."""
    from jinja2 import Environment, TemplateSyntaxError  # noqa: PLC0415  a sidecar without such a folder saves its memory

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
