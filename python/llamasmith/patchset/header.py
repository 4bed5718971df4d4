"""The text above a patch's diff: what it is for, and when it may go."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FIELDS", "SCOPES", "Header", "parse_header", "template"]

SCOPES = ("cpu-engine", "core")
FIELDS = ("Scope", "Forwarded", "Remove-When", "Test", "Bench", "Last-Update")
_FIELD = re.compile(rf"({'|'.join(('Subject', *FIELDS))}):[ \t]*(.*)")
_MAIL = re.compile(r"(From [0-9a-f]{40} .*|(From|Date|MIME-Version|Content-[A-Za-z-]+): .*)")  # git format-patch
_UPDATED = re.compile(r"(\d{4}-\d{2}-\d{2}) \(pin ([0-9a-f]{40})\)")
_WHY = "no patch-free way"


@dataclass(frozen=True)
class Header:
    """The fields by name, and the paragraphs between them."""

    subject: str
    fields: Mapping[str, str]
    body: str

    @property
    def pin(self) -> str | None:
        """The commit in ``Last-Update``."""
        match = _UPDATED.fullmatch(self.fields.get("Last-Update", ""))
        return match.group(2) if match else None

    def problems(self) -> list[str]:
        """What a patch of the series may not leave out."""
        found = [f"no {name}: field" for name in FIELDS if not self.fields.get(name)]
        if not self.subject:
            found.insert(0, "no Subject: line")
        scope = self.fields.get("Scope")
        if scope and scope not in SCOPES:
            found.append(f"Scope: {scope} is neither {' nor '.join(SCOPES)}")
        if not any(paragraph.lower().startswith(_WHY) for paragraph in self.body.split("\n\n")):
            found.append(f"no paragraph that starts with {_WHY.capitalize()!r} and says why")
        updated = self.fields.get("Last-Update")
        if updated:
            found += _date_problems(updated)
        blanks = [name for name in FIELDS if self.fields.get(name, "").startswith("<")]
        blanks += ["Subject"] if "<topic>" in self.subject else []
        blanks += ["the text"] if re.search(r"(^|: )<[^>]*>$", self.body, re.MULTILINE) else []
        found += [f"{name}: the template's words are still there" for name in blanks]
        return found


def _date_problems(updated: str) -> list[str]:
    match = _UPDATED.fullmatch(updated)
    if not match:
        return [f"Last-Update: {updated!r} is not of the form 'YYYY-MM-DD (pin <full commit>)'"]
    try:
        datetime.date.fromisoformat(match.group(1))
    except ValueError:
        return [f"Last-Update: {match.group(1)} is not a date"]
    return []


def parse_header(text: str) -> Header:
    """Read a header. Fields may go on in indented lines; nothing here fails, ``problems`` judges."""
    fields: dict[str, str] = {}
    body: list[str] = []
    current = None
    for line in text.splitlines():
        match = _FIELD.fullmatch(line)
        if match and match.group(1) not in fields:
            current = match.group(1)
            fields[current] = match.group(2).strip()
        elif current and line[:1] in (" ", "\t") and line.strip():
            fields[current] = f"{fields[current]} {line.strip()}".strip()
        else:
            current = None
            if not _MAIL.fullmatch(line) and line != "---":
                body.append(line.rstrip())
    subject = re.sub(r"^\[PATCH[^\]]*\]\s*", "", fields.pop("Subject", ""))
    return Header(subject, fields, "\n".join(body).strip())


def template(*, scope: str, date: datetime.date, pin: str) -> str:
    """The header of a new patch, with places to fill in that ``problems`` will not let pass."""
    return f"""Subject: <topic>: <what changes, in one line>

<What it does, and for whom.>

No patch-free way: <why our own code, outside upstream's files, cannot do it>

Scope: {scope}
Forwarded: <no (why), or where>
Remove-When: <what has to happen upstream>
Test: <path of the test in this repository>
Bench: <path of the benchmark, or none (why)>
Last-Update: {date.isoformat()} (pin {pin})

"""
