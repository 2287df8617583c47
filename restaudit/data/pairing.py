"""Two files of generations told apart by the same prompts, so that they can be compared prompt by
prompt.
"""

from __future__ import annotations

from dataclasses import replace

from restaudit.data.generations import Generations
from restaudit.errors import BadInput
from restaudit.evidence.chats import digest

NEEDED = "give both files a prompt_id, or both the prompt"


def paired(outputs: Generations, base: Generations) -> tuple[Generations, Generations]:
    """Both with prompt ids that mean the same prompt, and a note on the prompts only one of them
    has.

    By prompt_id where both files have it (and then the prompts, where both have those too, must
    agree); by the normalised prompt where both have that; by nothing else: rows are never paired by
    their order. Raises BadInput otherwise, and where the two have no prompt in common.
    """
    if outputs.keyed == base.keyed == "prompt_id":
        _same_prompts(outputs, base)
    elif outputs.asked is not None and base.asked is not None:
        outputs, base = _by_prompt(outputs), _by_prompt(base)
    else:
        raise BadInput(
            f"{outputs.source} and {base.source}: nothing tells which rows answer the same "
            f"prompt; {NEEDED}"
        )
    mine, theirs = (list(dict.fromkeys(g.table["prompt_id"])) for g in (outputs, base))
    both = set(mine) & set(theirs)
    if not both:
        what = "prompt" if outputs.keyed == "prompt" else "prompt_id"
        raise BadInput(
            f"{outputs.source} and {base.source} have no {what} in common (for example "
            f"{_named(outputs, mine[0])} and "
            f"{_named(base, theirs[0])}); sample both policies on the same prompts"
        )
    note = f"{len(both)} prompts are in both files"
    if len(mine) > len(both) or len(theirs) > len(both):
        note += (
            f"; {len(mine) - len(both)} of {outputs.source} and {len(theirs) - len(both)} of "
            f"{base.source} are not, and comparisons leave them out"
        )
    return replace(outputs, notes=(*outputs.notes, note)), base


def _by_prompt(one: Generations) -> Generations:
    """Named by the hash of the prompt, as files without a prompt_id are."""
    if one.keyed == "prompt" or one.asked is None:
        return one
    names = [digest(asked)[:16] for asked in one.asked]
    new = dict(zip(one.table["prompt_id"], names, strict=True))
    prompts = {new[old]: text for old, text in one.prompts.items()}
    references: dict[str, tuple[str, ...]] = {}
    for old, own in one.references.items():
        references[new[old]] = tuple(dict.fromkeys((*references.get(new[old], ()), *own)))
    note = "paired by prompt: the other file has no prompt_id"
    return replace(
        one,
        table=one.table.assign(prompt_id=names),
        keyed="prompt",
        prompts=prompts,
        references=references,
        notes=(*one.notes, note),
    )


def _same_prompts(outputs: Generations, base: Generations) -> None:
    if outputs.asked is None or base.asked is None:
        return
    other = dict(zip(base.table["prompt_id"], base.asked, strict=True))
    for name, asked in zip(outputs.table["prompt_id"], outputs.asked, strict=True):
        if other.get(name, asked) != asked:
            raise BadInput(
                f"prompt_id {name!r} is '{asked[:60]}' in {outputs.source} and "
                f"'{other[name][:60]}' in {base.source}; expected the same prompt under one id"
            )


def _named(one: Generations, name: str) -> str:
    return repr(one.prompts[name][:60]) if one.keyed == "prompt" else repr(name)
