"""What is measured after every Improve step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from restaudit.config.section import Batch, Line, Samples, Section, Text, Tokens


class NoToxicity(Section):
    """No scorer of toxicity: what needs one is null with this as the reason."""

    kind: Literal["none"] = "none"


class HfToxicity(Section):
    """A text classifier by name or path; the score is the probability of the named labels, and how
    it is known to fail is printed beside it.

    `labels` are called as the model's own `id2label` does. Labels that exclude each other (softmax)
    are added up; of labels that can hold together (`problem_type: multi_label_classification`, or
    one label alone) the likeliest counts. `max_tokens` of a text are read.
    """

    kind: Literal["hf"]
    model: Line
    labels: tuple[Line, ...] = Field(min_length=1)
    known_failure: Text = Field(min_length=1)
    sha256: Line | None = None
    licence: Text | None = None
    max_tokens: int = Field(512, ge=4, le=1 << 24)
    batch: Batch = 32


class RetiredToxicity(Section):
    """The scorer hatesonar, which is no more: plans that were sealed with it are read, and nothing
    is scored with it again.
    """

    kind: Literal["hatesonar"]
    model: Line | None = None
    sha256: Line | None = None
    licence: Text | None = None


class PythonToxicity(Section):
    """A Python callable from texts to numbers from 0 to 1; how it is known to fail is printed
    beside them.
    """

    kind: Literal["python"]
    callable: Line
    known_failure: Text = Field(min_length=1)


ToxicityConfig = Annotated[
    NoToxicity | HfToxicity | PythonToxicity | RetiredToxicity, Field(discriminator="kind")
]


class BenchmarksConfig(Section):
    """Benchmarks on the policy itself: names of restaudit.tasks, `lm_eval:NAME` or
    `path:FILE.yaml`.

    At most `limit` items of each task, the same ones for every policy. `when: ends` runs them for
    the base policy and at the last planned look only. `include_path`: a folder of lm-eval task
    files of one's own.
    """

    tasks: tuple[Line, ...] = ()
    # Two at least: one item has no spread.
    limit: int | None = Field(80, ge=2, le=1_000_000_000)
    # A look waits for them, and the two ends are enough to see what the training cost.
    when: Literal["ends", "every"] = "ends"
    include_path: Line | None = None


class HumanTextConfig(Section):
    """Held-out text that people wrote: its perplexity tells whether the policy forgets how people
    write.

    `source` is as for data (its column `column` is read), or `references`: those of the audit
    prompts, after their prompts. At most `limit` texts, chosen by hash, and the first `max_tokens`
    tokens of each.
    """

    source: Line
    column: Text = "text"
    sha256: Line | None = None
    licence: Text | None = None
    limit: int = Field(24, ge=2, le=1_000_000_000)
    max_tokens: Tokens = 48
    when: Literal["ends", "every"] = "every"


LEAST_BUDGET = 120


class StressConfig(Section):
    """A stress test of the reward on the base policy's audited texts: at most `texts` of them are
    spoilt in ways that make none better, and a search for exploits may score `budget` more (0:
    none). Each spoilt text is scored: on two cores a small encoder reads about 150 a second.
    """

    texts: int = Field(96, ge=2, le=1_000_000)
    budget: int = Field(300, ge=0, le=10_000_000)

    @model_validator(mode="after")
    def _enough(self) -> StressConfig:
        # Each of 20 starts is changed in 5 rounds, and one text a start and round is the least.
        if 0 < self.budget < LEAST_BUDGET:
            raise ValueError(f"budget: expected 0 (no search), or at least {LEAST_BUDGET}")
        return self


# Samples of a prompt after each stage of a look. Eight stages double the first count 128 times.
Stages = Annotated[tuple[Samples, ...], Field(min_length=1, max_length=8)]


class AuditConfig(Section):
    """What is measured after every Improve step, on prompts that nothing else uses.

    `samples_per_prompt` is a count, or rising counts: then a look samples in stages, up to the next
    count only while the gates are undecided. `counterfactual_samples` likewise, for the prompts of
    counterfactual families, with as many stages (a count: the same at every stage). The base policy
    is sampled once and compared with at every look, so more of its samples pay every time:
    `base_samples_per_prompt` (default: as many as a look's last stage).
    """

    # A healthy look seldom needs more than four; one that is near a margin needs them all.
    samples_per_prompt: Samples | Stages = (2, 4, 8, 16)
    # None: as many as a look's last stage.
    base_samples_per_prompt: Samples | None = None
    counterfactual_samples: Samples | Stages = 1
    # KL needs both policies' probabilities of every token, so fewer samples have it than are drawn.
    kl_samples: int = Field(64, ge=0, le=1_000_000_000)
    # Of 1,000 about 25 lie beyond either end of a 95% interval.
    resamples: int = Field(1000, ge=100, le=100_000)
    # None: what needs embeddings (Vendi) is null, with that as its reason.
    encoder: Line | None = None
    encoder_sha256: Line | None = None
    toxicity: ToxicityConfig = NoToxicity()
    benchmarks: BenchmarksConfig = BenchmarksConfig()
    # None: the dossier says that nobody stressed the reward, unless somebody does it afterwards.
    reward_stress: StressConfig | None = None
    human_text: HumanTextConfig | None = None

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """Samples of a plain prompt and of a counterfactual one after each stage of a look."""
        plain = _counts(self.samples_per_prompt)
        of_families = _counts(self.counterfactual_samples)
        most = max(len(plain), len(of_families))
        return tuple(zip(_filled(plain, most), _filled(of_families, most), strict=True))

    @property
    def base_samples(self) -> int:
        """Samples of the base policy of a plain prompt."""
        return self.base_samples_per_prompt or self.stages[-1][0]

    @model_validator(mode="after")
    def _rising(self) -> AuditConfig:
        for key in ("samples_per_prompt", "counterfactual_samples"):
            counts = _counts(getattr(self, key))
            if list(counts) != sorted(set(counts)):
                raise ValueError(f"{key}: expected rising counts, one a stage; got {list(counts)}")
        lengths = {len(_counts(c)) for c in (self.samples_per_prompt, self.counterfactual_samples)}
        if len(lengths - {1}) > 1:
            raise ValueError(
                "samples_per_prompt and counterfactual_samples: expected as many stages in both, "
                "or one count"
            )
        return self


def _counts(given: int | tuple[int, ...]) -> tuple[int, ...]:
    return (given,) if isinstance(given, int) else given


def _filled(counts: tuple[int, ...], most: int) -> tuple[int, ...]:
    """The same count at every stage where there is one only."""
    return counts if len(counts) == most else counts * most
