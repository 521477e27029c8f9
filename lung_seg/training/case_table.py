"""A table of numbers per case."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class CaseTable(Metric):
    """``columns`` numbers per case, gathered from all batches and devices.

    Each case is counted once, although the distributed sampler repeats cases to give every device the same number.
    """

    full_state_update = False
    rows: list[Tensor]
    values: list[Tensor]

    def __init__(self, columns: int):
        super().__init__()
        self.columns = columns
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, row: Tensor, values: Tensor) -> None:
        """Add the cases of a batch: their rows in the manifest, (N,) int64, and their numbers, (N, columns)."""
        self.rows.append(row)
        self.values.append(values)

    def compute(self) -> Tensor:
        """(N, 1 + columns) float64 on the CPU: the case's row in the manifest, ascending, then its numbers."""
        rows, values = dim_zero_cat(self.rows).cpu(), dim_zero_cat(self.values).cpu().double()
        unique, position = torch.unique(rows, return_inverse=True)
        table = values.new_zeros(len(unique), self.columns)
        table[position] = values
        return torch.cat([unique.double()[:, None], table], dim=1)
