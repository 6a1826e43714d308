"""How an epoch's rows are cut into batches, and what each rank is given of them."""

from __future__ import annotations

from dataclasses import dataclass

from data.field import DataError


@dataclass(frozen=True)
class Cut:
    """Batches of `size` rows over all ranks together; each rank is given its 1/world of every one.

    Rows of a last batch that do not divide by `world` are left out when world > 1. When shuffling, a last batch of
    fewer than two rows a rank is left out too (batch normalisation cannot use it); the next epoch shuffles anew.
    """

    rows: int
    size: int
    shuffle: bool = True
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.size < self.world:
            raise DataError(
                f"a batch of {self.size} rows cannot be shared by {self.world} workers",
                place="train.batch_size",
                fix=f"make it {self.world} or more",
            )

    @property
    def steps(self) -> int:
        """Batches an epoch, the same on every rank."""
        whole, rest = divmod(self.rows, self.size)
        fewest = self.world * (2 if self.shuffle and whole else 1)
        return whole + (1 if rest >= fewest else 0)

    def mine(self, rows: int) -> slice:
        """This rank's share of a batch of so many rows."""
        share = rows // self.world
        return slice(self.rank * share, (self.rank + 1) * share)
