"""The installed pair in service: shown by the built-in page, compared with what is presented, told and tidied up.

Knows the pair on disk and the web server. Does not know HQ or when to look.
"""

from __future__ import annotations

from otscert_agent import served
from otscert_agent.errors import AgentError
from otscert_agent.facts import CertificateFacts, installed_facts, newest_is_current
from otscert_agent.parts import Parts


class Serving:
    """What the loop knows about the page."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.as_issued = False

    def has_pair(self) -> bool:
        return self._parts.disk.current_pair() is not None

    def show_page(self) -> None:
        """Begin to serve; a pair that does not work is reported and does not keep the box from getting another."""
        try:
            self._parts.start_page()
        except AgentError as error:
            self._parts.report.problem(str(error))

    def verify(self) -> None:
        """Is what was issued also what is served? Mends what can be mended, and says what cannot."""
        facts, web = installed_facts(self._parts.disk), self._parts.web
        if web is None:
            self._finish(facts)
            return
        self.show_page()
        check = served.verify(web, facts.leaf_sha256, facts.names[0], self._parts.disk, self._parts.waiter.wait)
        self.as_issued = False
        if check.ok:
            self._finish(facts)
        else:
            self._parts.report.problem(check.why, rolled_back=check.rolled_back)

    def look(self) -> str | None:
        """What HQ is told to be served; once it is what was issued, the pairs before it are no longer needed."""
        web = self._parts.web
        if web is None or not self.has_pair():
            return None
        facts = installed_facts(self._parts.disk)
        found = served.presented_leaf(web.host, web.port, facts.names[0])
        if found != facts.leaf_sha256 and web.reload is not None:
            web.reload()
            found = served.presented_leaf(web.host, web.port, facts.names[0])
        if found == facts.leaf_sha256 and not self.as_issued and newest_is_current(self._parts.disk):
            self._finish(facts)
        return found

    def _finish(self, facts: CertificateFacts) -> None:
        """What is installed is served. If that is the newest pair, older ones are no longer needed for a way back."""
        web = self._parts.web
        if newest_is_current(self._parts.disk):
            self.as_issued = web is not None
            self._parts.disk.drop_pairs(keep_current=True)
        self._parts.report.serving(
            name=facts.names[0],
            names=facts.names,
            listen=web.host if web else "",
            port=web.port if web else 0,
            leaf_sha256=facts.leaf_sha256,
        )
