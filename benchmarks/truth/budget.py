"""What a run of the benchmark may cost, and how many pairs it therefore has.

Whole: 55 minutes on two idle cores at 128 px, 6600 CPU s; quick: 10 minutes, 1200 CPU s. What things cost, in CPU s of
one thread, and how many rows of a kind (of `methods.rows`, both sets of references together) at that number of pairs:

    what                                    each   whole             quick
    default, first default, misaligned      3.2    2 x 144     920   2 x 24    155
    ours: other strengths, aligned          3.2    5 x 48      770   5 x 12    190
    standard attention                      2.0    2 x 48      190   2 x 12     50
    gentle dial                             2.2    6 x 48      630   -
    peers, paper, stored queries            2.4    14 x 48    1610   5 x 12    145
    inversions: content, references         1.5    240         360   60         90
    inversions: recoloured                  1.5    2 x 48      145   -
    photographs: default, first default     3.2    48          155   24         75
    codec and inversion, there and back     10     16          160   8          80
    measures, faces with them               0.35   1850        650   300       105
    classifiers, once in a folder                              300             300
    pairs, start                                               100              10
    together                                                  5990            1200
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Run = Literal["quick", "whole", "all", "never"]  # each measures what those before it do


@dataclass(frozen=True)
class Budget:
    """`main`: misaligned pairs of rows that bounds compare finely; `other`: pairs of all other rows; both whole
    twelves. `styles`: style pictures for each photograph; `rendered`: portraits sent through codec and inversion;
    `lot`: rows of a job, fewer where there are few jobs to share."""

    run: Run
    main: int
    other: int
    styles: int
    rendered: int
    lot: int

    @property
    def most(self) -> int:
        """Pairs that any row has."""
        return max(self.main, self.other)

    @property
    def quick(self) -> bool:
        return self.run == "quick"


QUICK = Budget("quick", 24, 12, 3, 4, 8)
WHOLE = Budget("whole", 144, 48, 6, 12, 32)
ALL = Budget("all", 144, 48, 6, 12, 32)


def included(needed: Run, run: Run) -> bool:
    """Whether a run measures what the run `needed` and all longer ones measure."""
    order = get_args(Run)
    return order.index(needed) <= order.index(run)
