"""Human scores of outputs, each under the name of what it really is: LEXICON, MODEL, REFERENCE,
SIMULATED or NONE.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from restaudit.config import (
    ColumnHuman,
    HumanConfig,
    LexiconHuman,
    ModelHuman,
    NoHuman,
    PeopleHuman,
    PythonHuman,
    ReferenceHuman,
    RewardConfig,
    RowRules,
    TableSource,
    TrainedReward,
)
from restaudit.config.human import HUMAN_NAMES
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_file
from restaudit.evidence.record import read_table, write_json, write_table
from restaudit.reward.contract import Scores
from restaudit.reward.dossier import MISSING, same_as_recorded
from restaudit.reward.examples import choose_raters
from restaudit.reward.python import ImportedCallable, import_scorer

if TYPE_CHECKING:
    from restaudit.reward.trained import TrainedModel

FILE = "human.json"
SCHEMA = "restaudit.human-score/1"
WORDS = "words.parquet"
WORD_COLUMNS = ("word", "score", "raters")
LABELS = {kind: name.recorded for kind, name in HUMAN_NAMES.items()}
JUDGE_PURPOSE = (
    "Predicts how the judge raters would judge a text; used to judge samples, never to select them."
)
PUNCTUATION = string.punctuation + "“”‘’«»…–—"
_PIECE = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class HumanScore(Protocol):
    """A score of outputs that people stand behind, at the distance its label and description
    state.
    """

    @property
    def label(self) -> str:
        """What every page that shows the score calls it."""

    @property
    def unit(self) -> str:
        """What a score counts."""

    @property
    def description(self) -> str:
        """Where it comes from and what it is not."""

    def score(
        self, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> Scores:
        """Score responses to plain-text prompts: array (n,), float64, NaN where the score is
        undefined.
        """


@dataclass(frozen=True)
class Human:
    """A human score: how it is called, and the function of prompts, responses and references behind
    it.
    """

    label: str
    unit: str
    description: str
    values: Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], Scores]

    def score(
        self, prompts: Sequence[str], responses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> Scores:
        """Score responses: array (n,), float64, NaN where undefined.

        Raises BadInput on lists of unequal length.
        """
        if not len(prompts) == len(responses) == len(references):
            raise BadInput(
                f"{len(prompts)} prompts and {len(references)} lists of references for "
                f"{len(responses)} responses; "
                "give one of each for every response (an empty list where there is no reference)"
            )
        return self.values(prompts, responses, references)


def lexicon_scores(responses: Sequence[str], words: Mapping[str, float]) -> Scores:
    """Mean rating of the rated words of each text, in the ratings' own unit; NaN where a text has
    none.
    """
    longest = max((len(w.split()) for w in words), default=1)
    rated = [rated_words(text, words, longest) for text in responses]
    return np.array([math.fsum(r) / len(r) if r else math.nan for r in rated], dtype=np.float64)


def reference_scores(responses: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """chrF of each text against its best reference, 0 to 100; NaN where there is none (Popović
    2015, W15-3049).
    """
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    found = [
        max((metric.sentence_score(text, [r]).score for r in own if r.strip()), default=math.nan)
        for text, own in zip(responses, references, strict=True)
    ]
    return np.array(found, dtype=np.float64)


def simulated_scores(scorer: ImportedCallable, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
    """What a callable returns, one number a text; NaN means undefined.

    Raises BadInput on an infinite value.
    """
    if not len(responses):
        return np.empty(0)
    values = scorer.values(prompts, responses)
    bad = np.flatnonzero(np.isinf(values).any(axis=1))
    if values.shape[1] != 1 or bad.size:
        what = (
            f"an infinite score for row {bad[0]}"
            if bad.size
            else f"{values.shape[1]} scores a text"
        )
        raise BadInput(
            f"{scorer.name} gave {what}; expected one number a text, NaN where undefined"
        )
    return values[:, 0]


def build_human(
    config: HumanConfig, out: Path, *, rules: RowRules, device: str, seed: int
) -> HumanScore:
    """Make the human score and write what it is (human.json, and the word table or model it uses)
    into `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {}
    match config:
        case NoHuman():
            score = _none()
        case PeopleHuman():
            score = _people(config)
        case ColumnHuman():
            score = _column(config)
        case ReferenceHuman():
            score = _reference()
            facts["metric"] = _chrf_signature()
        case PythonHuman():
            scorer = import_scorer(config.callable, "human.callable")
            score = _simulated(scorer)
            facts |= {
                "callable": config.callable,
                "source_sha256": digest_file(scorer.source).sha256,
            }
        case LexiconHuman():
            words, facts = _build_words(config, out, rules)
            score = _lexicon(words)
        case ModelHuman():
            from restaudit.reward.trained import build_trained

            model = build_trained(
                _as_reward(config),
                out,
                rules=rules,
                device=device,
                seed=seed,
                purpose=JUDGE_PURPOSE,
            )
            score = _model(model, config)
            facts["model_digest"] = model.digest
    described = {"label": score.label, "unit": score.unit, "description": score.description}
    write_json({"schema": SCHEMA, "kind": config.kind, **described, **facts}, out / FILE)
    return score


def load_human(config: HumanConfig, out: Path, *, device: str) -> HumanScore:
    """Load what `build_human` left in `out`.

    Raises BadInput when a part is missing or not the recorded one.
    """
    facts = _read(out, config.kind)
    match config:
        case NoHuman():
            return _none()
        case PeopleHuman():
            return _people(config)
        case ColumnHuman():
            return _column(config)
        case ReferenceHuman():
            if facts["metric"] != _chrf_signature():
                raise BadInput(
                    f"the run was scored with {facts['metric']}, this is {_chrf_signature()}; "
                    "install that one"
                )
            return _reference()
        case PythonHuman():
            scorer = import_scorer(config.callable, "human.callable")
            got = digest_file(scorer.source).sha256
            same_as_recorded(
                f"{config.callable} ({scorer.source.name})", facts["source_sha256"], got
            )
            return _simulated(scorer)
        case LexiconHuman():
            table = read_table(out / WORDS, WORD_COLUMNS)
            same_as_recorded(
                str(out / WORDS), facts["words_sha256"], digest_file(out / WORDS).sha256
            )
            return _lexicon(dict(zip(table["word"], table["score"], strict=True)))
        case ModelHuman():
            from restaudit.reward.trained import load_trained

            return _model(load_trained(_as_reward(config), out, device=device), config)


def check_raters(reward: RewardConfig, human: HumanConfig) -> None:
    """Raise BadInput when the same people's judgements of the same source would train the reward
    and judge it.
    """
    if not isinstance(reward, TrainedReward) or not isinstance(human, LexiconHuman | ModelHuman):
        return
    if not _share_rows(reward.data, human.data):
        return
    train = None if reward.train_raters is None else {str(r) for r in reward.train_raters}
    judge = None if human.judge_raters is None else {str(r) for r in human.judge_raters}
    if train is not None and judge is not None:
        both = sorted(train & judge)
        who = f"rater(s) {', '.join(both)}" if both else ""
    else:
        unnamed = " and ".join(
            key
            for key, given in (("reward.train_raters", train), ("human.judge_raters", judge))
            if given is None
        )
        who = f"every rater ({unnamed} left out means all)"
    if who:
        raise BadInput(
            f"{who} of {reward.data.source} would train the reward and judge it too; give disjoint "
            "reward.train_raters and human.judge_raters, or disjoint options.part of the source"
        )


def rated_words(text: str, words: Mapping[str, float], longest: int) -> list[float]:
    """Ratings of the rated words of a text, in order, once for each time they occur.

    Tokens are what white space separates. A phrase of up to `longest` tokens is looked up as
    written (emoticons keep their case), in lower case, and without outer punctuation; a token that
    is not found is looked up in parts ("good...but", "feel-good"). Longer phrases go first.
    """
    tokens = text.replace("’", "'").split()
    found: list[float] = []
    i = 0
    while i < len(tokens):
        for size in range(min(longest, len(tokens) - i), 0, -1):
            phrase = " ".join(tokens[i : i + size])
            hit = next((words[form] for form in _forms(phrase) if form in words), None)
            if hit is not None:
                found.append(hit)
                i += size
                break
        else:
            found += [words[p] for p in _PIECE.findall(tokens[i].lower()) if p in words]
            i += 1
    return found


def _none() -> Human:
    what = "No human score was configured; whatever needs one was not measured."
    return Human(
        LABELS["none"], "none", what, lambda _, responses, __: np.full(len(responses), math.nan)
    )


def _people(config: PeopleHuman) -> Human:
    low, high = config.scale
    what = (
        f"People's own ratings of {config.dimension} ({low} to {high}) of samples of this "
        "iteration, drawn at random "
        "and shown blinded; the mean of a sample's raters. Samples that were not drawn have none."
    )
    return Human(
        LABELS["people"], f"rating ({low}-{high})", what, lambda _, r, __: np.full(len(r), math.nan)
    )


def _column(config: ColumnHuman) -> Human:
    what = config.description or (
        "Scores that the watched generation files hold; who or what gave them, and when, was not "
        "stated."
    )
    return Human(
        config.label, "the files' own unit", what, lambda _, r, __: np.full(len(r), math.nan)
    )


def _lexicon(words: Mapping[str, float]) -> Human:
    what = (
        "Mean of the judge raters' ratings of the rated words in the text; nobody rated the text "
        "itself. Negation, irony and context are not seen."
    )
    return Human(
        LABELS["lexicon"], "word-rating units", what, lambda _, r, __: lexicon_scores(r, words)
    )


def _model(model: TrainedModel, config: ModelHuman) -> Human:
    what = (
        "A model's prediction of what the judge raters would say (mean of its members); none of "
        "them saw these texts. "
        "It shares the weaknesses of models with the reward it is compared with."
    )

    def values(
        prompts: Sequence[str], responses: Sequence[str], _: Sequence[Sequence[str]]
    ) -> Scores:
        mean: Scores = model.score(prompts, responses).mean(axis=1)
        return mean

    label = LABELS["model"].format("raters" if config.judge_raters is not None else "judgements")
    return Human(label, model.unit, what, values)


def _reference() -> Human:
    what = (
        "chrF of the output against human references, the best one counts. It measures likeness "
        "of wording; a good output that is worded otherwise scores low."
    )
    return Human(
        LABELS["reference"],
        "chrF, 0-100",
        what,
        lambda _, r, references: reference_scores(r, references),
    )


def _simulated(scorer: ImportedCallable) -> Human:
    what = f"Simulated by the program {scorer.name}; no person was asked."
    return Human(
        LABELS["python"],
        "the callable's own unit",
        what,
        lambda p, r, _: simulated_scores(scorer, p, r),
    )


def _forms(phrase: str) -> tuple[str, str, str]:
    return phrase, phrase.lower(), phrase.lower().strip(PUNCTUATION)


def _build_words(
    config: LexiconHuman, out: Path, rules: RowRules
) -> tuple[dict[str, float], dict[str, Any]]:
    from restaudit.data.feedback import load_feedback

    feedback = load_feedback(config.data, rules)
    if feedback.kind != "ratings":
        raise BadInput(
            f"{config.data.source}: human.kind lexicon needs ratings of words; this source holds "
            "pairs"
        )
    try:
        raters = choose_raters(feedback.table, config.judge_raters)
    except BadInput as e:
        raise BadInput(f"{config.data.source}: {e}") from None
    judged = feedback.table[feedback.table["rater"].map(str).isin(raters.used)]
    grouped = judged.groupby("response", sort=True)["score"]
    table = pd.DataFrame({"score": grouped.mean(), "raters": grouped.count()}).reset_index(
        names="word"
    )
    write_table(table, out / WORDS, WORD_COLUMNS)
    facts = {
        "words_sha256": digest_file(out / WORDS).sha256,
        "words": len(table),
        "judge_raters": list(raters.used),
        "judgements": len(judged),
        "source": config.data.source,
        "files": [{"spec": a.spec, "sha256": a.sha256} for a in feedback.artifacts],
        "licence": feedback.licence or MISSING,
        "rows": feedback.report.to_json(),
    }
    return dict(zip(table["word"], table["score"], strict=True)), facts


def _as_reward(config: ModelHuman) -> TrainedReward:
    return TrainedReward(
        kind="trained",
        encoder=config.encoder,
        encoder_sha256=config.encoder_sha256,
        data=config.data,
        objective=config.objective,
        input=config.input,
        train_raters=config.judge_raters,
        max_tokens=config.max_tokens,
        head=config.head,
    )


def _share_rows(a: TableSource, b: TableSource) -> bool:
    same_file = a.source == b.source or (a.sha256 is not None and a.sha256 == b.sha256)
    if not same_file or a.split != b.split:
        return False
    from restaudit.data.records import disjoint

    return not disjoint(a, b)


def _chrf_signature() -> str:
    import sacrebleu
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return f"chrF{metric.beta}, char order {metric.char_order}, sacrebleu {sacrebleu.__version__}"


def _read(out: Path, kind: str) -> dict[str, Any]:
    path = out / FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{path}: missing; this folder holds no human score that was built here"
        ) from None
    except ValueError as e:
        raise BadInput(f"{path}: not valid JSON ({e})") from None
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA or facts.get("kind") != kind:
        raise BadInput(
            f"{path}: expected schema {SCHEMA!r} and kind {kind!r}; this is another human score"
        )
    return facts
