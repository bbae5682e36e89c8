"""Reading a tree of typed settings from TOML and the environment, with errors that name file, key and line.

The rules, for a struct whose fields are values or structs of values:

1. A key of the file must be a field; its value must have the field's type and lie within the field's bounds.
2. `WAINWRIGHT_KEY` and `WAINWRIGHT_SECTION__KEY` override the file. A text field takes the variable as it is; any other
   field takes it as a TOML value (`5`, `true`, `["a", "b"]`).
3. Every problem is found before any is reported.

What the values mean together (a URL with its certificate, say) is not decided here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wainwright_common.errors import WainwrightError

ENV_PREFIX = "WAINWRIGHT_"
ENV_SECTION_END = "__"

S = TypeVar("S", bound=msgspec.Struct)


class ConfigError(WainwrightError):
    """The configuration cannot be used; the text has one line for each problem: where, which key, and why."""


def read(kind: type[S], text: str, *, source: str, env: Mapping[str, str], prefix: str = ENV_PREFIX) -> S:
    """Return the settings of a TOML text with the environment's overrides; raises ConfigError.

    `source` names the text in errors; `prefix` begins the names of the variables.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML: {error}.") from error
    problems: list[str] = []
    values = _read_table(kind, document, (), source, text, problems)
    for name, path, field_type in _variables(kind, env, prefix, problems):
        try:
            _put(values, path, _convert(_env_value(env[name], field_type), field_type))
        except msgspec.ValidationError as error:
            problems.append(f"{name} (environment): {_words(error)}.")
    if problems:
        raise ConfigError("\n".join(problems))
    return msgspec.convert(values, kind, dec_hook=_decode_other)


def text_of(path: Path | None, default: Path) -> tuple[Path, str]:
    """Return a configuration file and its text; with no path, `default`, which need not be there.

    Raises ConfigError when a file that was named is not there, or one cannot be read.
    """
    file = path or default
    try:
        return file, file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is not None:
            raise ConfigError(f"{file}: there is no such file. Name another with --config.") from None
        return file, ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}.") from error


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Return the line, from 1, on which a TOML text sets a key; else the line of its table; else None."""
    *section, key = path
    table: list[str] = []
    table_line = None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = _parts(header[1])
            table_line = number if table in (section, list(path)) else table_line
        elif (entry := re.match(r"\s*([\w.\"'\- ]+?)\s*=", line)) and table + _parts(entry[1]) == [*section, key]:
            return number
    return table_line


def leaves(kind: type[msgspec.Struct], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Return (path, type, default) of every setting, in the order of the definition."""
    for field in msgspec.structs.fields(kind):
        if _is_table(field.type):
            yield from leaves(field.type, (*above, field.name))
        else:
            yield (*above, field.name), field.type, field.default


def description_of(kind: object) -> str:
    """Return the description in the type of a setting; "" if it has none."""
    return next((meta.description or "" for meta in getattr(kind, "__metadata__", ()) if meta.description), "")


def plain(value: object) -> Any:  # noqa: ANN401  what JSON and TOML can hold
    """Return settings as dicts, lists, numbers and texts."""
    return msgspec.to_builtins(value, enc_hook=str)


def _parts(name: str) -> list[str]:
    return [part.strip().strip("\"'") for part in name.split(".")]


def _is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _read_table(
    kind: type[msgspec.Struct],
    table: dict[str, Any],
    above: tuple[str, ...],
    source: str,
    text: str,
    problems: list[str],
) -> dict[str, Any]:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        path = (*above, key)
        field = fields.get(key)
        if field is None:
            why = f"unknown key{_suggestion(key, list(fields))}"
        elif not _is_table(field.type):
            try:
                values[key] = _convert(value, field.type)
                continue
            except msgspec.ValidationError as error:
                why = _words(error)
        elif isinstance(value, dict):
            values[key] = _read_table(field.type, value, path, source, text, problems)
            continue
        else:
            why = "expected a table"
        line = line_of(text, path)
        problems.append(f"{source}{f':{line}' if line else ''}: {'.'.join(path)}: {why}.")
    return values


def _variables(
    kind: type[msgspec.Struct], env: Mapping[str, str], prefix: str, problems: list[str]
) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Return (variable, path, type) of the overrides; a misspelt key of a section of ours is a problem.

    Other variables with our prefix belong to other programs, for example the operator's.
    """
    known = {prefix + ENV_SECTION_END.join(path).upper(): (path, field) for path, field, _ in leaves(kind)}
    sections = {name.split(ENV_SECTION_END)[0] for name in known if ENV_SECTION_END in name}
    for name in sorted(env):
        if name in known:
            yield name, *known[name]
        elif ENV_SECTION_END in name and name.split(ENV_SECTION_END)[0] in sections:
            problems.append(f"{name} (environment): unknown key{_suggestion(name, list(known))}.")


def _env_value(text: str, kind: object) -> object:
    try:
        _convert(text, kind)
    except msgspec.ValidationError:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def _put(values: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *sections, key = path
    for section in sections:
        values = values.setdefault(section, {})
    values[key] = value


def _convert(value: object, kind: object) -> Any:  # noqa: ANN401  typed by `kind`
    return plain(msgspec.convert(value, kind, dec_hook=_decode_other))


def _decode_other(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise msgspec.ValidationError("expected a path")


def _words(error: msgspec.ValidationError) -> str:
    text = str(error).replace("Expected", "expected")
    for type_name, word in (("`float`", "a number"), ("`int`", "a whole number"), ("`str`", "a text")):
        text = text.replace(type_name, word)
    for type_name, word in (("`bool`", "true or false"), ("`array`", "a list"), ("`object`", "a table")):
        text = text.replace(type_name, word)
    return text


def _suggestion(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
