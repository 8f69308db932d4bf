"""Jinja2 environments for HTML pages."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(package: str) -> Environment:
    """Builds an environment for the folder `templates` of a package: escapes all text, rejects undefined names."""
    return Environment(loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
