"""Claude Agent SDK code with its sessions in Hostel."""

from ._http import HostelError
from ._store import HostelSessionStore

__all__ = ["HostelError", "HostelSessionStore"]
