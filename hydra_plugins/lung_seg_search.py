"""The plugin folder that Hydra searches: ``hydra/sweeper=search``, which the files of ``conf/search`` choose."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lung_seg.errors import UserError


class SearchSweeper(Sweeper):
    """Lets Optuna choose the settings of each job."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what a sweep needs."""
        self.config = config
        self.hydra_context = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs."""
        try:
            from lung_seg.search.sweeper import run_search  # Hydra imports this module for every command
        except ImportError as error:
            raise UserError(f'A search needs {error.name}.\nInstall it: pip install "lung_seg[search]"') from error
        run_search(self.config, arguments, self.hydra_context.config_loader, self.launcher)
