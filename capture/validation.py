"""Error messages for invalid settings: all errors at once, each with its key, value and remedy."""

from collections.abc import Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

_WORDS = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list in square brackets",
    "list_type": "must be a list in square brackets",
    "model_type": "must be a section of keys",
    "dict_type": "must be a section of keys",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} values, and has {actual_length}",
    "too_long": "must have at most {max_length} values, and has {actual_length}",
}
_LONGEST_VALUE = 60


def explain_invalid(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """List all errors in one line, each as `key (value) what was expected`.

    Args:
        error: pydantic's error.
        model: the settings' model; its keys are suggested for misspelt ones.
    """
    faults = error.errors(include_url=False)
    guesses: dict[tuple, str] = {}
    for fault in faults:
        if fault["type"] == "extra_forbidden":
            guess = _guess(fault["loc"], model)
            if guess:
                guesses[fault["loc"]] = guess
    meant = {(*loc[:-1], guess) for loc, guess in guesses.items()}
    # Report a key that is missing because it is misspelt only once.
    texts = [
        _explain(fault, guesses.get(fault["loc"]))
        for fault in faults
        if not (fault["type"] == "missing" and fault["loc"] in meant)
    ]
    return "; ".join(dict.fromkeys(texts))


def _explain(fault: Any, guess: str | None) -> str:
    key = _name(fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] == "extra_forbidden":
        what = "section" if isinstance(fault["input"], dict) and len(fault["loc"]) == 1 else "key"
        value = "" if what == "section" else f" ({_shown(fault['input'])})"
        return f"{key}{value} is not a known {what}" + (f"; did you mean {guess}?" if guess else "")
    if fault["type"] == "value_error":
        return f"{key}: {message}" if key else message
    words = _WORDS.get(fault["type"])
    text = words.format(**fault.get("ctx", {})) if words else f"{message[0].lower()}{message[1:]}"
    return f"{key} ({_shown(fault['input'])}): {text}"


def _name(loc: Sequence[int | str]) -> str:
    """`camera.hot_pixels[3]`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def _guess(loc: Sequence[int | str], model: type[BaseModel] | None) -> str | None:
    """The most similar known key."""
    for part in loc[:-1]:
        if model is None or part not in model.model_fields:
            return None
        model = _model_in(model.model_fields[str(part)].annotation)
    if model is None:
        return None
    matches = get_close_matches(str(loc[-1]).lower(), list(model.model_fields), n=1, cutoff=0.6)
    return matches[0] if matches else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a key that is a section, else None."""
    if get_origin(annotation) is UnionType or get_args(annotation):
        return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
