"""Default options from files: the user's oodinv.toml, then pyproject.toml and oodinv.toml of the current folder.

A top-level key sets the default of that option in every command that has it; a table named after a command sets
defaults of that command only. Options on the command line take precedence.
"""

import tomllib
from pathlib import Path
from typing import Any

import platformdirs

from oodinv.errors import RecipeError, suggestion

NAME = "oodinv.toml"
NOT_CONFIGURABLE = frozenset({"help", "version", "install_completion", "show_completion"})


def places() -> list[Path]:
    """Lists the files that may contain defaults; later ones take precedence."""
    return [platformdirs.user_config_path("oodinv") / NAME, Path("pyproject.toml"), Path(NAME)]


def default_map(root: Any) -> dict[str, Any]:
    """Reads the defaults for click, by command and option.

    Raises:
        RecipeError: a file can't be read, or names an unknown command or option.
    """
    merged: dict[str, Any] = {}
    for path in places():
        _merge(merged, _checked(_read(path), root, path, is_root=True))
    return merged


def _read(path: Path) -> dict[str, Any]:
    """Reads the defaults in a file; empty if it doesn't exist, or is a pyproject.toml without a table for oodinv."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        if path.name != NAME:
            return {}  # ignore a pyproject.toml of another project, even if it is damaged
        raise RecipeError(f"{path}: expected TOML with defaults of options ({error})") from error
    if path.name != NAME:
        found = found.get("tool", {})
        found = found.get("oodinv", {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _checked(table: dict[str, Any], group: Any, path: Path, *, is_root: bool) -> dict[str, Any]:
    """Converts the table to click's `default_map`: top-level options are copied to all commands that have them."""
    common = {_key(key): value for key, value in table.items() if not isinstance(value, dict)}
    known = _options(group)
    for key in common:
        if not is_root or key not in known:
            raise _unknown(path, key, known, "option of any command")
    spread = _spread(group, common)
    for name, inner in ((name, inner) for name, inner in table.items() if isinstance(inner, dict)):
        command = group.commands.get(name)
        if command is None:
            raise _unknown(path, name, group.commands, "command")
        if hasattr(command, "commands"):
            _merge(spread.setdefault(name, {}), _checked(inner, command, path, is_root=True))
            continue
        options = _options(command)
        for key, value in inner.items():
            if _key(key) not in options:
                raise _unknown(path, key, options, f"option of `oodinv {name}`")
            spread.setdefault(name, {})[_key(key)] = value
    return spread


def _spread(group: Any, common: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found[name] = _spread(command, common)
        else:
            own = _options(command)
            found[name] = {key: value for key, value in common.items() if key in own}
    return found


def _options(command: Any) -> set[str]:
    """Returns the parameter names of a command, or of all commands of a group."""
    found = {
        str(parameter.name) for parameter in command.params if parameter.expose_value and parameter.name is not None
    }
    if hasattr(command, "commands"):
        found = set[str]().union(*map(_options, command.commands.values()))
    return found - NOT_CONFIGURABLE


def _key(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")


def _merge(into: dict[str, Any], table: dict[str, Any]) -> None:
    for key, value in table.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _unknown(path: Path, name: str, known: Any, what: str) -> RecipeError:
    return RecipeError(f"{path}: {name}: no such {what}{suggestion(_key(name), known)}")
