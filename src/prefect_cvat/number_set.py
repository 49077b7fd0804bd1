"""Sets of frames and of ids that take some bits a number: a run of a large task has millions of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet

__all__ = ["NumberSet"]

BITS = 256
"""How many numbers that follow one another are held in one integer."""


class NumberSet(MutableSet[int]):
    """Numbers, most of which are near others: a hundred bytes for up to 256 of them.

    Args:
        numbers: The numbers.
    """

    __slots__ = ("_blocks", "_length")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._blocks: dict[int, int] = {}
        self._length = 0
        self.update(numbers)

    def add(self, number: int) -> None:
        """Take in a number."""
        block, place = divmod(number, BITS)
        before = self._blocks.get(block, 0)
        after = before | 1 << place
        if after != before:
            self._blocks[block] = after
            self._length += 1

    def discard(self, number: int) -> None:
        """Take out a number, if it is in it."""
        if number in self:
            block, place = divmod(number, BITS)
            self._blocks[block] ^= 1 << place
            self._length -= 1
            if not self._blocks[block]:
                del self._blocks[block]

    def update(self, numbers: Iterable[int]) -> None:
        """Take in numbers."""
        for number in numbers:
            self.add(number)

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        block, place = divmod(number, BITS)
        return bool(self._blocks.get(block, 0) >> place & 1)

    def __iter__(self) -> Iterator[int]:
        """The numbers in ascending order."""
        for block in sorted(self._blocks):
            bits = self._blocks[block]
            yield from (block * BITS + place for place in range(bits.bit_length()) if bits >> place & 1)

    def __len__(self) -> int:
        return self._length
