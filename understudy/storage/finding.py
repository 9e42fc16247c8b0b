"""Finding what was said by its words."""

import html
import re

from understudy.storage.records import MessageHit, Role
from understudy.storage.repository import Repository
from understudy.storage.rowsecurity import Tenant

LONGEST = 100_000
"""Characters of a message that are looked at: those that migration 0018 takes words from."""

# Private-use characters stand for the marks until the text around them is escaped; its own are taken out first.
_OPEN, _CLOSE = "\ue000", "\ue001"
_PAIR = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")
_HEADLINE = f'StartSel={_OPEN}, StopSel={_CLOSE}, MaxFragments=2, MaxWords=30, MinWords=10, FragmentDelimiter=" … "'

# Every word counts the same, and how often is brought under 1 by x / (x + 1): one hit is 0.5. Headlines are cut last:
# they cost more than the search.
_FOUND = """
WITH asked AS (SELECT websearch_to_tsquery('english', %(text)s) AS query),
best AS MATERIALIZED (
    SELECT m.id, m.session_id, s.workspace_id, s.agent_id, m.role, m.content, m.created_at,
           ts_rank_cd('{1, 1, 1, 1}', m.words, query, 32) AS score
    FROM asked, session_messages m JOIN sessions s ON s.id = m.session_id
    WHERE s.uid = %(uid)s
      AND EXISTS (SELECT FROM workspace_members w WHERE w.workspace_id = s.workspace_id AND w.uid = s.uid)
      AND (%(workspace)s::text IS NULL OR s.workspace_id = %(workspace)s)
      AND m.role IN ('user', 'assistant') AND m.status <> 'rolled_back' AND m.words @@ query
    ORDER BY score DESC, m.created_at DESC, m.id LIMIT %(limit)s
)
SELECT id, session_id, workspace_id, agent_id, role,
       ts_headline('english', translate(left(content, %(longest)s), %(marks)s, ''), query, %(headline)s),
       score, created_at
FROM best, asked ORDER BY score DESC, created_at DESC, id
"""


class MessageSearch(Repository):
    """Messages by their words: what users and agents said, in live and archived sessions alike."""

    async def search_messages(
        self, uid: str, text: str, *, workspace_id: str | None = None, limit: int = 20
    ) -> tuple[MessageHit, ...]:
        """The user's own messages that have all words of *text*, best first, in workspaces to which they belong.

        *text* is as search boxes take it: ``"a phrase"``, ``this or that``, ``-without``. Nothing in it is an error.
        """
        found = await self._rows(
            _FOUND,
            tenant=Tenant(uid, workspace_id),
            uid=uid,
            text=text,
            workspace=workspace_id,
            limit=limit,
            longest=LONGEST,
            marks=_OPEN + _CLOSE,
            headline=_HEADLINE,
        )
        return tuple(
            MessageHit(id_, session, workspace, agent, Role(role), marked(snippet), float(score), at)
            for id_, session, workspace, agent, role, snippet, score, at in found
        )


def marked(snippet: str) -> str:
    """A headline as HTML: its text escaped, what was between the marks in ``<mark>``; safe to put into a page."""
    escaped = _PAIR.sub(r"<mark>\1</mark>", html.escape(snippet, quote=False))
    return escaped.translate({ord(_OPEN): None, ord(_CLOSE): None})
