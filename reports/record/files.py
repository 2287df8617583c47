"""Files of a run folder, read once and only as the ledger has them; every figure of a report names
its record.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from probes.base import Measurement
from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence import documents
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.ledger import FileDigest
from restaudit.evidence.record import LARGEST_TABLE, Run, read_json, read_table
from restaudit.files import plain
from restaudit.gates import Decision


@dataclass(frozen=True, order=True)
class Source:
    """Where a figure stands: a file of the run folder, the place in it, and the file's SHA-256 as
    the ledger has it.

    `sha256` of the ledger itself is the hash of its last event (the head).
    """

    path: str
    at: str
    sha256: str


class Records:
    """A run whose files are compared with the ledger when they are read."""

    def __init__(self, run: Run) -> None:
        from restaudit.config.reading import check_sections

        self.run = run
        self._checked: set[str] = set()
        # Digests that fit do not make a record what restaudit writes.
        check_sections(run.plan["config"], f"{run.path}/plan.json: config")
        documents.check("plan.json", run.plan, f"{run.path}/plan.json")
        for number, event in enumerate(run.events, start=1):
            documents.check_noted(event.step, event.content, f"{run.path}/{LEDGER}: line {number}")

    @cached_property
    def digests(self) -> Mapping[str, FileDigest]:
        """Every recorded file."""
        files: dict[str, FileDigest] = {}
        # Context files are covered by the chain too, so a figure from them can be cited as well.
        for event in self.run.events:
            files |= {**event.outputs, **event.context}
        return files

    @property
    def head(self) -> str:
        """The hash of the last event."""
        if not self.run.events:
            return ""
        return self.run.events[-1].hash

    def has(self, name: str) -> bool:
        """Whether a finished step recorded this file."""
        return name in self.digests

    def source(self, name: str, at: str = "") -> Source:
        """What a figure taken from this file cites.

        Raises BadInput for a file that no step recorded.
        """
        if name == LEDGER:
            return Source(LEDGER, at, self.head)
        if name not in self.digests:
            raise BadInput(f"{self.run.path}/{name}: no finished step recorded it")
        return Source(name, at, self.digests[name].sha256)

    def checked(self, name: str) -> Path:
        """The path of a recorded file, whose bytes are as recorded.

        Raises VerificationFailed where they are not, BadInput where the file is not recorded or
        gone.
        """
        expected = self.source(name).sha256
        path = self.run.path / name
        # Once is enough: a report reads some files many times, and the large ones take seconds.
        if name not in self._checked:
            got = self._digest(name)
            if got != expected:
                raise VerificationFailed(
                    f"{name}: changed after it was recorded: expected {expected}, got {got}"
                )
            self._checked.add(name)
        return path

    def _digest(self, name: str) -> str:
        wanted = self.digests[name].bytes
        try:
            with plain.opened(self.run.path, name, LARGEST_TABLE) as f:
                size = os.fstat(f.fileno()).st_size
                # Said at once: hashing a file of a terabyte takes an hour.
                if size != wanted:
                    raise VerificationFailed(
                        f"{name}: changed after it was recorded: expected {wanted:,} bytes, got "
                        f"{size:,}"
                    )
                return hashlib.file_digest(f, "sha256").hexdigest()
        except FileNotFoundError:
            raise BadInput(f"{self.run.path / name}: missing from the run folder") from None

    def json(self, name: str) -> Any:
        """A recorded JSON file."""
        self.checked(name)
        raw = read_json(self.run.path, name)
        documents.check(name, raw, f"{self.run.path}/{name}")
        return raw

    def decision(self, iteration: str) -> Decision:
        """A recorded decision."""
        self.checked(f"{iteration}/decision.json")
        decision = self.run.decision(iteration)
        assert decision is not None
        return decision

    def table(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        """Some columns of a recorded table."""
        self.checked(name)
        return read_table(self.run.path, name, columns, columns)

    def measurements(self, iteration: str) -> dict[str, Measurement]:
        """All measurements of one iteration, by name."""
        self.checked(f"{iteration}/measurements.json")
        return {m.name: m for m in self.run.measurements(iteration)}
