"""Events without text: pseudonyms for tokens, numbers for hashes, marks for messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from sessions.redaction.hiding import hide
from sessions.redaction.pseudonyms import Histories, Path, pseudonym

Fields = dict[str, Any]
TextLength = Callable[[int], int]


class EventRedactor:
    """Takes the events of a session in order. Paths of requests are kept: rows about tokens need them."""

    def __init__(self, length: TextLength) -> None:
        """`length` tells how many characters a token's text has."""
        self.histories = Histories()
        self.paths: dict[tuple[int, str], Path] = {}  # by branch and request
        self._length = length
        self._hashes: dict[int, int] = {}

    def redact(self, line: str) -> str:
        """One event as a line of JSON. Raises msgspec.DecodeError for what is none."""
        fields: Fields = msgspec.json.decode(line)
        hidden = hide(fields)
        change = _CHANGES.get(fields.get("type", ""))
        if change is not None:
            change(self, fields, hidden)
        return msgspec.json.encode(hidden).decode()

    def token(self, branch: int, request: str, position: int, token: int) -> int:
        """The pseudonym of the token at `position`."""
        return pseudonym(self.paths[branch, request].number(position), self._length(token))

    def candidate(self, history: int, token: int, place: int) -> int:
        """The pseudonym of a token that could have followed `history`."""
        return pseudonym(self.histories.candidate(history, token, place), self._length(token))

    # -- what events say of tokens -------------------------------------------------------------------

    def _submitted(self, fields: Fields, hidden: Fields) -> None:
        path = self._begin(fields, Path(self.histories))
        path.extend(fields["prompt_ids"], fields["step"])
        hidden["prompt_ids"] = self._of(fields, fields["prompt_ids"], 0)

    def _forked(self, fields: Fields, hidden: Fields) -> None:
        at = fields["at_position"]
        path = self._begin(fields, self.paths[fields["branch"], fields["parent"]].first(at))
        path.extend(fields["appended"], fields["step"])
        hidden["appended"] = self._of(fields, fields["appended"], at)

    def _token(self, fields: Fields, hidden: Fields) -> None:
        key = fields["branch"], fields["request"]
        self.paths[key].extend((fields["token"],), fields["step"])
        hidden["token"] = self.token(*key, fields["position"], fields["token"])

    def _matched(self, fields: Fields, hidden: Fields) -> None:
        end = fields["end"]
        if "wanted" not in end:
            return
        history = self.paths[fields["branch"], fields["request"]].before(end["position"])
        for name in ("wanted", "cached"):
            number = self.histories.after(history, end[name]).number
            hidden["end"][name] = pseudonym(number, self._length(end[name]))

    def _branched(self, fields: Fields, _hidden: Fields) -> None:
        parent = fields["parent"]
        found = {key: path for key, path in self.paths.items() if key[0] == parent}
        for (_, request), path in found.items():
            self.paths[fields["branch"], request] = path.until(fields["step"])

    def _drafted(self, fields: Fields, hidden: Fields) -> None:
        nodes = [self.paths[fields["branch"], fields["request"]].before(fields["position"])]
        parents = fields["parents"] or range(-1, len(fields["drafts"]) - 1)
        hidden["drafts"] = []
        for token, parent in zip(fields["drafts"], parents, strict=True):
            node, number = self.histories.after(nodes[parent + 1], token)
            nodes.append(node)
            hidden["drafts"].append(pseudonym(number, self._length(token)))
        hidden |= {"spreads": [], **{name: fields[name] for name in ("method", "q", "parents", "cut")}}

    def _verified(self, fields: Fields, hidden: Fields) -> None:
        """The numbers stay; tokens that were not chosen are told from others by place only."""
        hidden["drafts"] = [each | {"token": 0} for each in fields["drafts"]]
        if fields["residual"] is not None:
            hidden["residual"] = fields["residual"] | {"token": 0, "ids": [], "probs": []}
        hidden["bonus"] = None if fields["bonus"] is None else 0

    def _beams_chosen(self, fields: Fields, hidden: Fields) -> None:
        """The scores stay; `token` of each beam that goes on follows."""
        hidden["candidates"] = [[parent, 0, *rest] for parent, _token, *rest in fields["candidates"]]

    def _logits_changed(self, _fields: Fields, hidden: Fields) -> None:
        """Which tokens a plugin favours is text as well."""
        hidden["change"] = {}

    def _cached(self, fields: Fields, hidden: Fields) -> None:
        hidden["hashes"] = [self._hash(each) for each in fields["hashes"]]

    def _kept_private(self, fields: Fields, hidden: Fields) -> None:
        hidden["hash"] = self._hash(fields["hash"])

    def _hosted(self, fields: Fields, hidden: Fields) -> None:
        for name in ("hashes", "forgotten"):
            if name in fields:
                hidden[name] = [self._hash(each) for each in fields[name]]

    def _lost(self, fields: Fields, hidden: Fields) -> None:
        """What was wrong with a file may name it."""
        hidden |= {"hash": self._hash(fields["hash"]), "why": ""}

    def _begin(self, fields: Fields, path: Path) -> Path:
        self.paths[fields["branch"], fields["request"]] = path
        return path

    def _of(self, fields: Fields, tokens: list[int], start: int) -> list[int]:
        key = fields["branch"], fields["request"]
        return [self.token(*key, position, token) for position, token in enumerate(tokens, start)]

    def _hash(self, hash_: int) -> int:
        """A number for a hash: equal ones stay equal, and nobody can try texts against it."""
        return self._hashes.setdefault(hash_, len(self._hashes) + 1)


_CHANGES: Final[dict[str, Callable[[EventRedactor, Fields, Fields], None]]] = {
    "submitted": EventRedactor._submitted,
    "forked": EventRedactor._forked,
    "token": EventRedactor._token,
    "prefix_matched": EventRedactor._matched,
    "branched": EventRedactor._branched,
    "drafted": EventRedactor._drafted,
    "verified": EventRedactor._verified,
    "beams_chosen": EventRedactor._beams_chosen,
    "logits_changed": EventRedactor._logits_changed,
    "cached": EventRedactor._cached,
    "kept_private": EventRedactor._kept_private,
    "offloaded": EventRedactor._hosted,
    "loaded": EventRedactor._hosted,
    "offload_lost": EventRedactor._lost,
}
