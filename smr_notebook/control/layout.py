"""The keys of a job in the object store: the only place that builds them.

Rules of this module:

* All data of a job stands below `jobs/<job>/`, so that one `delete_prefix` removes it.
* Whatever an attempt writes carries its phase, task and number, so that no attempt can overwrite another's output.
* Numbers are padded, so that keys sort as their numbers do.
"""

from __future__ import annotations

from dataclasses import dataclass

from smr_notebook.model import AttemptId, Phase

SPLITS_PER_PAGE = 256


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of one job. A name that ends in a slash is a prefix."""

    job: str

    @property
    def folder(self) -> str:
        """What all keys begin with, without the slash that follows."""
        return f"jobs/{self.job}"

    @property
    def root(self) -> str:
        """Prefix of all that the job stored."""
        return f"{self.folder}/"

    @property
    def plan(self) -> str:
        """The sealed plan."""
        return f"{self.root}plan"

    @property
    def code(self) -> str:
        """The sealed bundle of the user's functions."""
        return f"{self.root}code"

    @property
    def index(self) -> str:
        """The gathered index of all committed runs of map tasks."""
        return f"{self.root}index"

    @property
    def merged_index(self) -> str:
        """The gathered index of all committed runs of merge tasks. It goes with them."""
        return f"{self.phase(Phase.MERGE)}index"

    @property
    def input(self) -> str:
        """Prefix of the items or frame chunks that the session stored."""
        return f"{self.root}input/"

    @property
    def request(self) -> str:
        """The sealed request of a job that is planned where code runs."""
        return f"{self.root}request"

    @property
    def splits(self) -> str:
        """Prefix of the split pages."""
        return f"{self.root}splits/"

    def splits_of(self, planner: str) -> str:
        """Prefix of the split pages that one of several planners writes: a plan names those that belong to it."""
        return f"{self.splits}{planner}/"

    def phase(self, phase: Phase) -> str:
        """Prefix of all that the attempts of a phase wrote."""
        return f"{self.root}{phase}/"

    def attempt(self, attempt: AttemptId) -> str:
        """What all keys of one attempt begin with, without the slash that follows."""
        return f"{self.root}{attempt}"

    def run(self, attempt: AttemptId) -> str:
        """The run that one attempt of a map task, or of a merge task, wrote."""
        return f"{self.attempt(attempt)}/run"

    def bad(self, attempt: AttemptId) -> str:
        """What one attempt left out. It stands beside the phases, because it outlives the data of the map phase."""
        return f"{self.root}bad/{attempt.task.phase}-{attempt.task.number:06d}-{attempt.number:03d}/records"

    @property
    def logs(self) -> str:
        """Prefix of what the attempts wrote to standard output and error."""
        return f"{self.root}logs/"

    def logs_of(self, phase: Phase) -> str:
        """Prefix of what the attempts of a phase wrote there. No folder: a policy on `*/map/*` would mean it, too."""
        return f"{self.logs}{phase}-"

    def log_piece(self, attempt: AttemptId, number: int) -> str:
        """A piece of what one attempt wrote there, counted from 1."""
        return f"{self.logs_of(attempt.task.phase)}{attempt.task.number:06d}-{attempt.number:03d}/{number:06d}"

    def manifest(self, phase: Phase) -> str:
        """The sealed manifest of a phase."""
        return f"{self.root}manifest/{phase}"


def split_page(prefix: str, split: int) -> str:
    """Return the key of the page, below its prefix, that holds the split of this number."""
    return f"{prefix}{split // SPLITS_PER_PAGE:06d}"
