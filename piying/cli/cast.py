"""`piying cast`: who is who in a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from piying.cli import terminal
from piying.errors import UsageError


def cast(
    dataset: Annotated[Path, typer.Argument(help="A folder that `piying prep` made.")],
    add: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="A new member, or one to say more about: a Latin word, e.g. DaWa."),
    ] = None,
    alias: Annotated[
        list[str] | None, typer.Option(help="What people write for it, in any language; may be given again.")
    ] = None,
    class_word: Annotated[str | None, typer.Option("--class", help="What it is one of, e.g. child.")] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(metavar="PICTURE", help="How it looks; may be given again.")
    ] = None,
    remove: Annotated[str | None, typer.Option(metavar="TOKEN", help="A member to take out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell who is who in a dataset: names, aliases, tokens, reference pictures."""
    from piying.cli.prep import known
    from piying.data import cast as casting
    from piying.data import dataset as datasets
    from piying.data.prep import assemble, model_of

    if add is None and (alias or class_word is not None or reference):
        raise UsageError("alias, class, reference: say whose they are with --add, e.g. --add DaWa --alias 大娃")
    model = model_of(dataset)
    _, reader = known(model)
    before = datasets.read_cast(dataset)
    members = before if remove is None else casting.remove(dataset, before, remove)
    if add is not None:
        members = casting.add(
            dataset, members, add, aliases=alias or (), class_word=class_word, references=reference or ()
        )
    if reader is not None:
        casting.check(dataset, members, reader)
    if members != before:
        datasets.write_cast(dataset, members)
    outcome = assemble(dataset, reader=reader)
    counts = {member.id: sum(member.id in clip.names for clip in outcome.clips) for member in members}
    unnamed = sum(not clip.names for clip in outcome.clips)
    proposed = casting.proposals(outcome.clips, members, reader)
    if as_json:
        terminal.answer(
            {
                "cast": [
                    {
                        "id": member.id,
                        "token": member.token,
                        "aliases": list(member.aliases),
                        "class": member.class_word,
                        "references": list(member.references),
                        "clips": counts[member.id],
                    }
                    for member in members
                ],
                "clips": len(outcome.clips),
                "without_a_name": unnamed,
                "proposals": [
                    {"token": one.name, "aliases": list(one.aliases), "clips": one.clips} for one in proposed
                ],
            }
        )
        return
    for member in members:
        typer.echo(
            f"{member.token}: {counts[member.id]} clips"
            + (f", {member.class_word}" if member.class_word else "")
            + (f", also {', '.join(member.aliases)}" if member.aliases else "")
            + (f", {len(member.references)} pictures" if member.references else "")
        )
    typer.echo(f"{unnamed} of {len(outcome.clips)} clips name nobody" + ("" if members else " yet"))
    for one in proposed:
        command = f"--add {one.name.replace(' ', '')}" if one.name.isascii() else f"--add TOKEN --alias {one.name}"
        aliases = [*([one.name] if " " in one.name else []), *one.aliases]
        words = "".join(f" --alias '{name}'" if " " in name else f" --alias {name}" for name in aliases)
        typer.echo(f"{one.name} stands in {one.clips} clips: piying cast {dataset} {command}{words}")
