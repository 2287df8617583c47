"""A user's own reward: `package.module:callable` from texts, or from prompts and texts, to
floats.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from restaudit.config import PythonReward
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_file
from restaudit.reward.contract import Scores, finite, same_length
from restaudit.reward.dossier import MISSING, describe, digest_facts, read_dossier, same_as_recorded

UNIT = "the callable's own unit"
LIMITS = (
    "The digest covers the file the callable is written in, not what that file imports or reads.",
    (
        "Whether it always gives a text the same reward was not tested; a reward that does not "
        "cannot be reproduced."
    ),
)


@dataclass(frozen=True)
class ImportedCallable:
    """An imported callable: where it is written, and how many arguments it takes (1: texts, 2:
    prompts and texts).
    """

    name: str
    call: Callable[..., Any]
    source: Path
    arguments: int

    def values(self, prompts: Sequence[str], responses: Sequence[str]) -> npt.NDArray[np.float64]:
        """Call it once on all rows: array (n, columns), float64, perhaps with NaN.

        Raises BadInput when it raises, returns another number of rows or a changing number of
        columns, or what it returns is not numbers.
        """
        same_length(prompts, responses)
        # Lists of its own: a callable that changes its arguments must not change ours.
        given = [list(prompts), list(responses)][-self.arguments :]
        try:
            raw = self.call(*given)
        except Exception as e:
            raise BadInput(f"{self.name} raised {type(e).__name__}: {e} ({self.source})") from e
        try:
            # A tensor may be on a GPU and hold gradients; numpy takes neither.
            detached = raw.detach().cpu().numpy() if hasattr(raw, "detach") else raw
            values = np.asarray(detached)
        except (ValueError, TypeError) as e:
            raise BadInput(f"{self.name} did not return one number a text: {e}") from None
        # Numbers in text or in objects would become numbers by accident, or NaN.
        if values.dtype.kind not in "fiub" or values.ndim not in (1, 2):
            raise BadInput(
                f"{self.name} returned {values.dtype} values of shape {values.shape} for "
                f"{len(responses)} texts; "
                "expected floats, one a text (or one row a text with a column a member)"
            )
        if len(values) != len(responses):
            raise BadInput(
                f"{self.name} returned {len(values)} values for {len(responses)} texts; expected "
                "one a text"
            )
        return values.astype(np.float64).reshape(len(responses), -1)


@dataclass(frozen=True)
class PythonModel:
    """A reward that a Python callable computes."""

    scorer: ImportedCallable
    members: int
    digest: str

    @property
    def name(self) -> str:
        """How reports call this reward."""
        return f"python/{self.scorer.name}"

    @property
    def unit(self) -> str:
        """What a score counts."""
        return UNIT

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score responses: array (n, members), float64.

        Raises BadInput naming a row that is not finite.
        """
        # A callable may not expect to be asked about nothing.
        if not len(responses):
            return np.empty((0, self.members))
        values = finite(self.scorer.values(prompts, responses), responses, self.scorer.name)
        if values.shape[1] != self.members:
            raise BadInput(
                f"{self.scorer.name} returned {values.shape[1]} columns; expected {self.members}, "
                "as ensemble.size says"
            )
        return values


def import_scorer(name: str, key: str) -> ImportedCallable:
    """Import `package.module:callable`; modules in the current folder can be imported too (they
    come last).

    `key` is the configuration key, for messages. Raises BadInput when it cannot be imported, is not
    callable from one or two positional arguments, or is not written in a file.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise BadInput(
            f"{key}: '{name}'; expected package.module:callable, for example my_rewards:politeness"
        )
    # Last, so that a file here hides no installed package.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    # A module written since this process began may be missing in the finders' caches.
    importlib.invalidate_caches()
    try:
        imported: Any = importlib.import_module(module_name)
    except Exception as e:
        raise BadInput(f"{key}: '{module_name}' cannot be imported: {type(e).__name__}: {e}") from e
    for inner in attribute.split("."):
        if not hasattr(imported, inner):
            raise BadInput(f"{key}: '{module_name}' has no '{attribute}'")
        imported = getattr(imported, inner)
    if not callable(imported):
        raise BadInput(f"{key}: '{name}' is a {type(imported).__name__}, not a callable")
    return ImportedCallable(
        name, imported, _source(imported, module_name, key), _arguments(imported, name, key)
    )


def prepare_python(config: PythonReward) -> Callable[[Path], PythonModel]:
    """Import the callable; the function returned writes dossier.json into a folder.

    Raises BadInput as `import_scorer` does.
    """
    scorer = import_scorer(config.callable, "reward.callable")
    return lambda out: _described(config, scorer, out)


def load_python(config: PythonReward, out: Path) -> PythonModel:
    """Import the callable again.

    Raises BadInput when its source file has changed since the run was sealed.
    """
    facts = read_dossier(out, "python")
    reward = _model(config, import_scorer(config.callable, "reward.callable"))
    source = reward.scorer.source
    same_as_recorded(
        f"{config.callable} ({source.name})", facts["source_sha256"], digest_file(source).sha256
    )
    return reward


def _described(config: PythonReward, scorer: ImportedCallable, out: Path) -> PythonModel:
    reward = _model(config, scorer)
    describe(
        reward,
        out,
        kind="python",
        purpose=(inspect.getdoc(scorer.call) or MISSING).partition("\n\n")[0],
        ensemble=config.ensemble,
        limits=LIMITS,
        callable=config.callable,
        arguments=["prompts", "texts"][-scorer.arguments :],
        source_sha256=digest_file(scorer.source).sha256,
    )
    return reward


def _model(config: PythonReward, scorer: ImportedCallable) -> PythonModel:
    facts = {"callable": config.callable, "source": digest_file(scorer.source).sha256}
    return PythonModel(scorer, config.ensemble.size, digest_facts(facts))


def _source(imported: Any, module_name: str, key: str) -> Path:
    try:
        path = inspect.getsourcefile(inspect.unwrap(imported))
    except TypeError:
        # A partial or an instance has no source of its own, and lives where its module does.
        path = getattr(sys.modules[module_name], "__file__", None)
    if path is None or not Path(path).is_file():
        raise BadInput(
            f"{key}: '{module_name}' is not written in a file, so its digest cannot be recorded"
        )
    return Path(path)


def _arguments(imported: Any, name: str, key: str) -> int:
    try:
        # By its signature, and not by trying: a call may cost money or a GPU.
        parameters = inspect.signature(imported).parameters.values()
    except (ValueError, TypeError):
        raise BadInput(
            f"{key}: the arguments of '{name}' cannot be read; wrap it in a Python function"
        ) from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in positional if p.default is p.empty]
    extra = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if extra or len(needed) > 2 or not positional:
        raise BadInput(
            f"{key}: '{name}' must take (texts) or (prompts, texts); it takes "
            f"{inspect.signature(imported)}"
        )
    # Of (texts, *, prompts=None) and the like only what must be given counts.
    return max(len(needed), 1)
