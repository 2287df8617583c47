"""Human scores of outputs, each under the name of what it really is (config.human.HUMAN_NAMES)."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, assert_never

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
from restaudit.evidence.ledger import digest_file, digest_in
from restaudit.evidence.record import read_json, read_table, write_json, write_table
from restaudit.files import plain
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
# Makes a score in a folder, and says what human.json holds of it.
_Make = Callable[[Path], "tuple[HumanScore, dict[str, Any]]"]
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
class LabelledScore:
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
    means = []
    for text in responses:
        ratings = rated_words(text, words, longest)
        # fsum, so that the order of a text's words does not change its last digit.
        means.append(math.fsum(ratings) / len(ratings) if ratings else math.nan)
    return np.array(means, dtype=np.float64)


def reference_scores(responses: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """chrF of each text against its best reference, 0 to 100; NaN where there is none (Popović
    2015, W15-3049).
    """
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    best = []
    for text, own in zip(responses, references, strict=True):
        scores = [metric.sentence_score(text, [r]).score for r in own if r.strip()]
        best.append(max(scores, default=math.nan))
    return np.array(best, dtype=np.float64)


def simulated_scores(
    scorer: ImportedCallable, prompts: Sequence[str], responses: Sequence[str]
) -> Scores:
    """What a callable returns, one number a text; NaN means undefined.

    Raises BadInput on an infinite value.
    """
    if not len(responses):
        return np.empty(0)  # other people's callables need not be ready for no text at all
    values = scorer.values(prompts, responses)
    bad = np.flatnonzero(np.isinf(values).any(axis=1))
    wrong = None
    if bad.size:
        wrong = f"an infinite score for row {bad[0]}"
    elif values.shape[1] != 1:
        wrong = f"{values.shape[1]} scores a text"
    if wrong is not None:
        raise BadInput(
            f"{scorer.name} gave {wrong}; expected one number a text, NaN where undefined"
        )
    return values[:, 0]


def build_human(
    config: HumanConfig, out: Path, *, rules: RowRules, device: str, seed: int
) -> HumanScore:
    """Make the human score and write what it is (human.json, and the word table or model it uses)
    into `out`.

    Raises BadInput as `prepare_human` does.
    """
    return prepare_human(config, rules=rules, device=device, seed=seed)(out)


def prepare_human(
    config: HumanConfig, *, rules: RowRules, device: str, seed: int
) -> Callable[[Path], HumanScore]:
    """Open everything the human score needs; the function returned makes it and writes it into a
    folder.

    A run does this before its plan is sealed, so that whatever can be refused is refused then.
    Raises BadInput when something the configuration names cannot be used.
    """
    make: _Make
    match config:
        case NoHuman():
            make = _known(_none())
        case PeopleHuman():
            make = _known(_people(config))
        case ColumnHuman():
            make = _known(_column(config))
        case ReferenceHuman():
            make = _known(_reference(), metric=_chrf_signature())
        case PythonHuman():
            scorer = import_scorer(config.callable, "human.callable")
            source = digest_file(scorer.source).sha256
            make = _known(_simulated(scorer), callable=config.callable, source_sha256=source)
        case LexiconHuman():
            make = _prepare_words(config, rules)
        case ModelHuman():
            make = _prepare_model(config, rules, device, seed)
        case _ as unknown:
            assert_never(unknown)

    def build(out: Path) -> HumanScore:
        score, facts = make(out)
        described = {"label": score.label, "unit": score.unit, "description": score.description}
        write_json({"schema": SCHEMA, "kind": config.kind, **described, **facts}, out / FILE)
        return score

    return build


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
            # Another version may score the same text otherwise, and the change would look like one of
            # the policy.
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
            table = read_table(out, WORDS, WORD_COLUMNS)
            same_as_recorded(str(out / WORDS), facts["words_sha256"], digest_in(out, WORDS).sha256)
            return _lexicon(dict(zip(table["word"], table["score"], strict=True)))
        case ModelHuman():
            from restaudit.reward.trained import load_trained

            return _model(load_trained(_as_reward(config), out, device=device), config)
        case _ as unknown:
            assert_never(unknown)


def check_raters(reward: RewardConfig, human: HumanConfig) -> None:
    """Raise BadInput when the same people's judgements of the same source would train the reward
    and judge it.
    """
    if not isinstance(reward, TrainedReward) or not isinstance(human, LexiconHuman | ModelHuman):
        return  # nobody's judgements are learned on both sides
    if not _share_rows(reward.data, human.data):
        return
    train, judge = reward.train_raters, human.judge_raters
    if train is not None and judge is not None:
        # A table may hold names as numbers and a configuration as words.
        both = sorted({str(name) for name in train} & {str(name) for name in judge})
        if not both:
            return
        who = f"rater(s) {', '.join(both)}"
    else:
        unnamed = []
        if train is None:
            unnamed.append("reward.train_raters")
        if judge is None:
            unnamed.append("human.judge_raters")
        who = f"every rater ({' and '.join(unnamed)} left out means all)"
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
    ratings: list[float] = []
    i = 0
    while i < len(tokens):
        # The longest phrase first: "not bad" is rated as it is, and not as "not" and "bad".
        for size in range(min(longest, len(tokens) - i), 0, -1):
            phrase = " ".join(tokens[i : i + size])
            rating = _rating_of(phrase, words)
            if rating is not None:
                ratings.append(rating)
                i += size
                break
        else:
            ratings += [words[p] for p in _PIECE.findall(tokens[i].lower()) if p in words]
            i += 1
    return ratings


def _undefined(
    _prompts: Sequence[str], responses: Sequence[str], _references: Sequence[Sequence[str]]
) -> Scores:
    """Of scores that are given elsewhere (ratings, a column), or nowhere: nothing can be asked."""
    return np.full(len(responses), math.nan)


def _none() -> LabelledScore:
    what = "No human score was configured; whatever needs one was not measured."
    return LabelledScore(HUMAN_NAMES["none"].recorded, "none", what, _undefined)


def _people(config: PeopleHuman) -> LabelledScore:
    low, high = config.scale
    what = (
        f"People's own ratings of {config.dimension} ({low} to {high}) of samples of this "
        "iteration, drawn at random and shown blinded; the mean of a sample's raters. Samples "
        "that were not drawn have none."
    )
    return LabelledScore(HUMAN_NAMES["people"].recorded, f"rating ({low}-{high})", what, _undefined)


def _column(config: ColumnHuman) -> LabelledScore:
    what = config.description or (
        "Scores that the watched generation files hold; who or what gave them, and when, was not "
        "stated."
    )
    return LabelledScore(config.label, "the files' own unit", what, _undefined)


def _lexicon(words: Mapping[str, float]) -> LabelledScore:
    what = (
        "Mean of the judge raters' ratings of the rated words in the text; nobody rated the text "
        "itself. Negation, irony and context are not seen."
    )
    return LabelledScore(
        HUMAN_NAMES["lexicon"].recorded,
        "word-rating units",
        what,
        lambda _, r, __: lexicon_scores(r, words),
    )


def _model(model: TrainedModel, config: ModelHuman) -> LabelledScore:
    what = (
        "A model's prediction of what the judge raters would say (mean of its members); none of "
        "them saw these texts. It shares the weaknesses of models with the reward it is compared "
        "with."
    )

    def values(
        prompts: Sequence[str], responses: Sequence[str], _: Sequence[Sequence[str]]
    ) -> Scores:
        mean: Scores = model.score(prompts, responses).mean(axis=1)
        return mean

    # Where no raters were chosen, other judgements were held out, perhaps of the same raters.
    of_whom = "judgements" if config.judge_raters is None else "raters"
    label = HUMAN_NAMES["model"].recorded.format(of_whom)
    return LabelledScore(label, model.unit, what, values)


def _reference() -> LabelledScore:
    what = (
        "chrF of the output against human references, the best one counts. It measures likeness "
        "of wording; a good output that is worded otherwise scores low."
    )
    return LabelledScore(
        HUMAN_NAMES["reference"].recorded,
        "chrF, 0-100",
        what,
        lambda _, r, references: reference_scores(r, references),
    )


def _simulated(scorer: ImportedCallable) -> LabelledScore:
    what = f"Simulated by the program {scorer.name}; no person was asked."
    return LabelledScore(
        HUMAN_NAMES["python"].recorded,
        "the callable's own unit",
        what,
        lambda p, r, _: simulated_scores(scorer, p, r),
    )


def _rating_of(phrase: str, words: Mapping[str, float]) -> float | None:
    """The rating of a phrase as it is written, in lower case, or without outer punctuation."""
    for form in (phrase, phrase.lower(), phrase.lower().strip(PUNCTUATION)):
        if form in words:
            return words[form]
    return None


def _known(score: HumanScore, **facts: Any) -> _Make:
    """A score that is there already: nothing but human.json is written for it."""
    return lambda _: (score, facts)


def _prepare_model(config: ModelHuman, rules: RowRules, device: str, seed: int) -> _Make:
    from restaudit.reward.trained import prepare_trained

    train = prepare_trained(
        _as_reward(config), rules=rules, device=device, seed=seed, purpose=JUDGE_PURPOSE
    )

    def make(out: Path) -> tuple[HumanScore, dict[str, Any]]:
        model = train(out)
        return _model(model, config), {"model_digest": model.digest}

    return make


def _prepare_words(config: LexiconHuman, rules: RowRules) -> _Make:
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

    def make(out: Path) -> tuple[HumanScore, dict[str, Any]]:
        write_table(table, out / WORDS, WORD_COLUMNS)
        facts = {
            "words_sha256": digest_in(out, WORDS).sha256,
            "words": len(table),
            "judge_raters": list(raters.used),
            "judgements": len(judged),
            "source": config.data.source,
            "files": [{"spec": a.spec, "sha256": a.sha256} for a in feedback.artifacts],
            "licence": feedback.licence or MISSING,
            "rows": feedback.report.to_json(),
        }
        words = dict(zip(table["word"], table["score"], strict=True))
        return _lexicon(words), facts

    return make


def _as_reward(config: ModelHuman) -> TrainedReward:
    """The judge is trained as a reward model is, on other people's judgements or other rows."""
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
    # One file may be named in two ways; its pin tells.
    same_file = a.source == b.source or (a.sha256 is not None and a.sha256 == b.sha256)
    if not same_file or a.split != b.split:
        return False
    from restaudit.data.records import disjoint

    return not disjoint(a, b)


def _chrf_signature() -> str:
    """What decides a chrF score; a run goes on only with the one that it began with."""
    import sacrebleu
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return f"chrF{metric.beta}, char order {metric.char_order}, sacrebleu {sacrebleu.__version__}"


def _read(out: Path, kind: str) -> dict[str, Any]:
    path = out / FILE
    if not plain.is_file(out, FILE):
        raise BadInput(f"{path}: missing; this folder holds no human score that was built here")
    facts = read_json(out, FILE)
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA or facts.get("kind") != kind:
        raise BadInput(
            f"{path}: expected schema {SCHEMA!r} and kind {kind!r}; this is another human score"
        )
    return facts
