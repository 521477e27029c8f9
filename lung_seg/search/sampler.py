"""How a search draws values: by its seed and the number of the trial."""

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial


class TrialSeededSampler(BaseSampler):
    """TPE or random values from a seed of each trial's own.

    One process draws the same trials again, resumed or not. Several processes share a study's numbers, so that no two
    of them draw alike; a generator that each of them seeds in the same way would.
    """

    def __init__(self, seed: int, use_tpe: bool):
        self.seed, self.use_tpe = seed, use_tpe
        self.number: int | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together; called once at the begin of each trial."""
        return self._sampler(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """Values that are drawn together."""
        return self._sampler(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """The value of one parameter."""
        return self._sampler(trial).sample_independent(study, trial, param_name, param_distribution)

    def _sampler(self, trial: FrozenTrial) -> BaseSampler:
        """One sampler for all values of a trial."""
        if trial.number != self.number:
            self.number = trial.number
            seed = int(np.random.SeedSequence((self.seed, trial.number)).generate_state(1)[0])
            # With constant_liar TPE keeps away from what other processes are trying.
            tpe = TPESampler(seed=seed, multivariate=True, constant_liar=True) if self.use_tpe else None
            self.sampler: BaseSampler = tpe or RandomSampler(seed=seed)
        return self.sampler
