"""What the checker found, and the error that says it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One broken promise: which check, in which autoreset mode, and what was seen where."""

    check: str
    mode: str
    message: str

    def __str__(self) -> str:
        return f"[{self.check}, {self.mode}] {self.message}"


@dataclass(frozen=True)
class Report:
    """The result of `check_vector_env`.

    Attributes:
        name: The environment.
        modes: The autoreset modes that were tried, by Gymnasium's names.
        passed: Checks without a finding in any mode.
        not_run: Check or mode -> why it was left out.
        findings: Broken promises, in the order of the checks.
        num_episodes: Mode -> episodes that ended in the main trace, so that a pass is not an empty
            one.
    """

    name: str
    modes: tuple[str, ...]
    passed: tuple[str, ...]
    not_run: dict[str, str]
    findings: tuple[Finding, ...]
    num_episodes: dict[str, int]

    @property
    def failed(self) -> frozenset[str]:
        """The names of the checks with findings."""
        return frozenset(finding.check for finding in self.findings)

    def raise_if_failed(self) -> None:
        """Raise VectorEnvError with all findings, if there are any."""
        if self.findings:
            raise VectorEnvError(self)


class VectorEnvError(AssertionError):
    """A vector environment breaks its promises; `report` holds all findings."""

    def __init__(self, report: Report) -> None:
        self.report = report
        lines = "\n".join(f"  {finding}" for finding in report.findings)
        names = ", ".join(sorted(report.failed))
        super().__init__(
            f"{report.name} fails {len(report.failed)} checks ({names}):\n{lines}\n"
            'What breaks a check by design is left out with skip=("<check>",).'
        )
