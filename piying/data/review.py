"""review.html: every clip with pictures, kept or not, and why. A page of its own, without scripts from anywhere."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from piying.data.cutting import THUMBNAILS
from piying.data.dataset import MEDIA, write_whole
from piying.data.decisions import TABLE, Decision
from piying.data.lists import DROPPED
from piying.data.record import Cut, Record

PAGE = "review.html"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --no: #c0392b; --yes: #2e8b57; --say: #b8860b }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line) }
nav label { margin-right: 1rem } ul { margin: .3rem 0; padding-left: 1.2rem }
article { display: flex; flex-wrap: wrap; gap: 1rem; padding: .7rem; margin: .6rem 0 }
article { border-left: 4px solid var(--yes) }
article.no { border-color: var(--no) } article.no img { opacity: .55 }
article img { height: 108px; max-width: 100%; object-fit: contain; object-position: left; background: #0002 }
article div { flex: 1 1 20rem } b.no { color: var(--no) } b.yes { color: var(--yes) }
.why { color: var(--no) } .say { color: var(--say) } small { opacity: .7 } p { margin: .2rem 0 }
body:has(#kept:checked) article.no, body:has(#dropped:checked) article.yes { display: none }
body:has(#said:checked) article.fine { display: none }
"""


def write(
    folder: Path,
    records: Sequence[Record],
    decisions: Mapping[str, Decision],
    advice: Mapping[str, Sequence[str]],
    notes: Sequence[str],
) -> Path:
    """The page, beside the thumbnails that it shows."""
    kept = sum(decision.keep for decision in decisions.values())
    title = f"{kept} of {len(decisions)} clips are kept"
    choices = [("all", "all"), ("kept", "kept"), ("dropped", "dropped"), ("said", "with advice")]
    choose = "".join(
        f'<label><input type="radio" name="show" id="{name}"{" checked" * (name == "all")}> {words}</label>'
        for name, words in choices
    )
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>',
        f"<h1>{title}</h1><p>To decide otherwise, edit <i>keep</i> and <i>caption</i> in"
        f' <a href="{TABLE}">{TABLE}</a> and run piying prep again. Nothing is decoded again for it.</p>',
        _list(notes, "say"),
        f"<nav>{choose}</nav>",
    ]
    for record in records:
        parts.append(f"<h2>{escape(record.episode)} <small>{escape(record.source)}</small></h2>")
        parts.append(_list(record.faults, "say"))
        parts += [_article(cut, decisions[cut.id], advice[cut.id]) for cut in record.cuts]
    write_whole(folder / PAGE, "\n".join(part for part in parts if part) + "\n</html>\n")
    return folder / PAGE


def _article(cut: Cut, decision: Decision, advice: Sequence[str]) -> str:
    word, state, place = ("yes", "kept", MEDIA) if decision.keep else ("no", "dropped", DROPPED)
    state += ", changed by hand" * decision.by_hand
    media = f"{place}/{quote(cut.file)}"
    scores = cut.scores
    facts = (
        f"{cut.start:.2f} to {cut.end:.2f} s,"
        f" {cut.frames} frame{'s' * (cut.frames > 1)} of {cut.size[0]}x{cut.size[1]};"
        f" sharpness {scores.sharpness:.3f}, motion {scores.motion:.2f}, text {scores.text:.0%}"
    )
    return (
        f'<article class="{word}{"" if advice else " fine"}" id="{escape(cut.id)}">'
        f'<a href="{media}"><img loading="lazy" alt="" src="{THUMBNAILS}/{quote(cut.id)}.jpg"></a>'
        f'<div><p><b class="{word}">{state}</b> {escape(cut.id)} <small>{facts}</small></p>'
        + _list(decision.reasons, "why")
        + "".join(f"<p>{escape(caption)}</p>" for caption in decision.captions)
        + _list(advice, "say")
        + "</div></article>"
    )


def _list(lines: Sequence[str], kind: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if items else ""
