"""How --help looks: plain text of 80 columns, in which no word is cut, the options in groups."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

GENERAL = "General"
DEPTH, SWEEPS, READING, STREAM = "Depth", "Sweeps and triggers", "Reading files", "Stream"


class GroupedCommand(TyperCommand):
    """A command whose options stand in the groups that their `rich_help_panel` names, the general ones last."""

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
    """A group of commands that says of each its whole first paragraph, not as much of it as fits a line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, " ".join((command.help or "").split("\n\n")[0].split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
