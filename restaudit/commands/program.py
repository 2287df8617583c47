"""What every command has in common: an option that holds one value is given once, numbers are
finite, and names in a list may be given by comma or by giving the option again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperOption

from restaudit.errors import BadInput

# The largest seed that every library takes, and more of anything than anybody counts.
MOST_SEED = 2**31 - 1
MOST = 1_000_000_000
COLUMN = "NAME=COLUMN, for example text=response"

Code = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:CALLABLE",
        help="Code that a folder of somebody else's names and that may be run; may be given again.",
    ),
]

F = TypeVar("F", bound=Callable[..., Any])


class PipeBroken(Exception):
    """A pipe has no reader any more.

    Typer ends the program in silence for any pipe, also one that is not the output.
    """

    def __init__(self, error: BrokenPipeError) -> None:
        super().__init__(str(error))
        self.error = error


class Command(TyperCommand):
    """A command that refuses an option given twice where it holds one value: the usual parsers
    take the last, and nobody is told that the first had no effect.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; raises BadInput for an option given twice, or NaN or infinity."""
        if args:
            self._once(ctx, args)
        rest = super().parse_args(ctx, args)
        for param in self.params:
            given = ctx.params.get(param.name)
            for value in given if isinstance(given, list | tuple) else [given]:
                # Ranges let NaN pass: it is neither below the lowest nor above the highest value.
                if isinstance(value, float) and not math.isfinite(value):
                    raise BadInput(f"{param.opts[0]} {value}: expected a finite number")
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raises PipeBroken for a pipe without a reader."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as e:
            raise PipeBroken(e) from None

    def _once(self, ctx: Any, args: list[str]) -> None:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for param, times in Counter(order).items():
            if not isinstance(param, TyperOption) or times == 1 or param.multiple or param.count:
                continue
            # A switch without an opposite says the same each time.
            if not param.is_flag or param.secondary_opts:
                names = "/".join([*param.opts, *param.secondary_opts])
                raise BadInput(f"{names}: given {times} times; give it once")


class Program(typer.Typer):
    """A group whose commands are `Command`s."""

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **settings: Any
    ) -> Callable[[F], F]:
        """As typer's, with `Command` as the class."""
        return super().command(name, cls=cls, **settings)


def listed(given: Iterable[str] | None) -> tuple[str, ...]:
    """The names of an option that may be given again, and may hold several with commas between;
    each once, in order.
    """
    names = (name.strip() for text in given or () for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def keyed(flag: str, given: Iterable[str] | None, example: str) -> dict[str, str]:
    """What KEY=VALUE options say. Raises BadInput for one of another form, and for a key given
    twice.
    """
    pairs: dict[str, str] = {}
    for item in given or ():
        key, equals, value = item.partition("=")
        if not (key and equals and value):
            raise BadInput(f"{flag} {item}: expected {example}")
        if key in pairs:
            raise BadInput(f"{flag} {item}: {key} is given twice; give it once")
        pairs[key] = value
    return pairs
