"""Checks that objects are in the organization that a client works in.

CVAT 2.73 ignores `X-Organization` when an object is requested by its id, but filters lists by it: in another
organization, a task is found, but has neither jobs nor labels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from prefect_cvat.exceptions import OrganizationError

__all__ = ["SelectedOrganization"]


class SelectedOrganization:
    """The organization that a client works in.

    Args:
        slug: The short name; `""` for the personal workspace, None for no check.
        list_visible: Returns the organizations that the user may see: short names by id.
    """

    def __init__(self, slug: str | None, list_visible: Callable[[], Mapping[int, str]]) -> None:
        self._slug = slug
        self._list_visible = list_visible
        self._lock = threading.Lock()
        self._visible: Mapping[int, str] | None = None

    def check(self, what: str, organization: int | None) -> None:
        """Check that an object is in this organization.

        Args:
            what: The object, such as `task 12`.
            organization: The id of its organization; None if it has none.

        Raises:
            OrganizationError: It is in another one.
        """
        if self._slug is None or (self._slug == "" and organization is None):
            return
        visible = self._look_up()
        if self._slug != "" and organization is not None and visible.get(organization) == self._slug:
            return
        if organization is None:
            found, remedy = "no organization", "name none"
        elif organization in visible:
            name = visible[organization]
            found, remedy = f"the organization {name!r}", f"name {name!r}, or none"
        else:
            found, remedy = f"the organization number {organization}", "name that one, or none"
        named = "the personal workspace" if self._slug == "" else repr(self._slug)
        raise OrganizationError(f"{what} is in {found}, not in {named}; {remedy} (organization, --org)")

    def _look_up(self) -> Mapping[int, str]:
        with self._lock:
            if self._visible is None:
                self._visible = self._list_visible()
            return self._visible
