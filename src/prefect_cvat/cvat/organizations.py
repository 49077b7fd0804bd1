"""The organization that a client was told to work in, against the one that a thing is in.

CVAT 2.73 answers for what is asked for by its id whatever `X-Organization` says, but narrows lists by it: in
another organization than its own, a task is found and has no jobs and no labels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from prefect_cvat.exceptions import OrganizationError

__all__ = ["SelectedOrganization"]


class SelectedOrganization:
    """The organization that was named.

    Args:
        slug: Its short name; `""` for the personal workspace, None if none was named.
        list_visible: Asks the server for the organizations that the user may see: short names by ids.
    """

    def __init__(self, slug: str | None, list_visible: Callable[[], Mapping[int, str]]) -> None:
        self._slug = slug
        self._list_visible = list_visible
        self._lock = threading.Lock()
        self._visible: Mapping[int, str] | None = None

    def check(self, what: str, organization: int | None) -> None:
        """Refuse what is in another organization.

        Args:
            what: What it is, such as `task 12`.
            organization: The number of the organization that it is in, if it is in one.

        Raises:
            OrganizationError: It is not in the organization that was named.
        """
        if self._slug is None or (self._slug == "" and organization is None):
            return
        visible = self._look_up()
        if self._slug != "" and organization is not None and visible.get(organization) == self._slug:
            return
        if organization is None:
            found, mend = "no organization", "name none"
        elif organization in visible:
            name = visible[organization]
            found, mend = f"the organization {name!r}", f"name {name!r}, or none"
        else:
            found, mend = f"the organization number {organization}", "name that one, or none"
        named = "the personal workspace" if self._slug == "" else repr(self._slug)
        raise OrganizationError(f"{what} is in {found}, not in {named}; {mend} (organization, --org)")

    def _look_up(self) -> Mapping[int, str]:
        with self._lock:
            if self._visible is None:
                self._visible = self._list_visible()
            return self._visible
