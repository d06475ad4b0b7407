"""Formatting of --help: plain text of 80 columns without truncation, options in groups."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

GENERAL = "General"
DEPTH, SWEEPS, READING, STREAM = "Depth", "Sweeps and triggers", "Reading files", "Stream"


class GroupedCommand(TyperCommand):
    """A command whose options are grouped by their `rich_help_panel`, with the general ones last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            group = getattr(parameter, "rich_help_panel", None) or "Options"
            if parameter.param_type_name == "argument":
                group = "Arguments"
            elif parameter.name == "help":
                group = GENERAL
            groups.setdefault(group, []).append(record)
        for group in sorted(groups, key=lambda name: name == GENERAL):
            with formatter.section(group):
                formatter.write_dl(groups[group])


class WholeGroup(TyperGroup):
    """A group of commands that shows the whole first paragraph of each, without truncation."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, " ".join((command.help or "").split("\n\n")[0].split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
