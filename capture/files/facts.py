"""Facts about files: text for people, with the numbers in it for programs."""

from typing import Any, Self

Facts = dict[str, dict[str, Any]]
"""Sections of names and values."""


class Measured(str):
    """A fact as text, with its numbers by names that include the unit: `Measured("1.2 s", duration_s=1.2)`.

    Unknown numbers are None or NaN.
    """

    numbers: dict[str, Any]

    def __new__(cls, text: str, **numbers: Any) -> Self:
        fact = super().__new__(cls, text)
        fact.numbers = numbers
        return fact


def as_numbers(facts: Facts) -> Facts:
    """The same facts for programs: numbers instead of text."""
    return {
        section: {
            key: number
            for name, value in rows.items()
            for key, number in (value.numbers.items() if isinstance(value, Measured) else [(name, value)])
        }
        for section, rows in facts.items()
    }
