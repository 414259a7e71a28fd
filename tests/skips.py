"""Plugin of pytest: in continuous integration (CI is set) a skipped test is a failure.

It has shown nothing, and nobody would notice.
"""

import os

import pytest

#: Reasons that hold in continuous integration, too: these tests need what cannot be distributed.
ALLOWED = ("real clips are not distributed",)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that skipped what it should not have."""
    if not os.environ.get("CI"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])}
    unwanted = sorted(r for r in reasons if not any(known in r for known in ALLOWED))
    if unwanted:
        reporter.write_line(f"\nSkipped in continuous integration: {'; '.join(unwanted)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
