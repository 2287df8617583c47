"""The tiny run of tests/loop, with its folder, for trainers of others."""

from tests.loop.conftest import job_folder, silent

__all__ = ["job_folder", "silent"]
