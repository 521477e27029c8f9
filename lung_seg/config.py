"""Meaning, default and range of every configuration key: one dataclass per group of ``conf/``."""

import re
from dataclasses import dataclass
from typing import Any

from lung_seg.config_field import MISSING, ConfigGroup, config_field, is_unresolved, nested, target_kwargs
from lung_seg.errors import UserError

MAX_MEGAPIXELS = 80  # four times the largest public radiograph; a file of a few kB may claim to hold billions of pixels
# Values of a mask in training and scoring. A pixel that is not known is neither trained on nor scored.
BACKGROUND, LUNG, UNKNOWN = 0, 1, 2
LUNG_PROBABILITY = 0.5  # lung where the probability is at least this, the logit at least 0 (metrics.predict_mask)
AS_TRAINED = "as_trained"  # evaluate.py: the cases that the checkpoint was trained with
SOURCES = ("phantom", "montgomery", "shenzhen", "montgomery_shenzhen", "jsrt", "folder", AS_TRAINED)
SPLITS = ("train", "validation", "test")
FORMATS = ("onnx", "torch_export", "safetensors")
WINDOWS = (
    "auto",
    "none",
)  # of DICOM: its own window unless that blanks the radiograph, or the whole range of values
LOGGERS = ("tensorboard", "csv", "wandb", "mlflow")  # TensorBoard's is always written
SAMPLERS = ("tpe", "random", "grid")
ENCODERS = ("unet", "efficientnet", "both")  # the network that finds the lungs, a general one, all levels of both
OWN_ENCODER = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # or one's own, a function that returns it: module:function
ENCODER_RULE = " | ".join((*ENCODERS, "module:function"))
RESIZE_MODES = ("stretch", "letterbox")
MIN_SECOND_STEP_PX = 64  # at 32 the deepest level of an encoder has one cell, for both lungs
RENAMED_DATA_KEYS = {"phantoms_beside": "synthetic_per_epoch"}  # keys of earlier versions
# Keys whose values are files and folders: a resume follows those inside the current folder, others if they are given.
PATH_KEYS = (
    *("data.raw_dir", "data.prepared_dir", "data.additional", "data.exclude"),
    *("data.folder.image_dir", "data.folder.mask_dir", "data.folder.bounds_dir", "data.folder.add_dir"),
)
AUTO_PRECISION = "auto: bf16-mixed on hardware with bf16 arithmetic, else 32-true"


@dataclass
class PhantomConfig(ConfigGroup, prefix="data.phantom."):
    """Generated radiographs, the default data set."""

    cases: int = config_field(1600, "Number of radiographs.", at_least=1)
    size_px: int = config_field(128, "Height of the radiographs in pixels.", at_least=32, at_most=4096)
    seed: int = config_field(0, "Random seed of the radiographs.", at_least=0)


@dataclass
class FolderConfig(ConfigGroup, prefix="data.folder."):
    """Two folders of radiographs and masks, matched by the stem of their file names."""

    image_dir: str = config_field("images", "Folder of the radiographs, relative to data.raw_dir.")
    mask_dir: str = config_field("masks", "Folder of the masks, relative to data.raw_dir.")
    image_suffix: str = config_field("", "Removed from the end of a radiograph's stem before matching.")
    mask_suffix: str = config_field("", "Removed from the end of a mask's stem before matching, e.g. _mask.")
    patient_pattern: str = config_field("", "Regex on the stem, group 1 the patient; empty: DICOM header, usual names.")
    inverted: bool = config_field(False, "The files show air bright and bone dark.")
    lung_labels: list[int] = config_field((), "Mask values of lung, e.g. [1,2]; [0]: lung is black; empty: all but 0.")
    ignore_value: int | None = config_field(
        None, "Mask value of pixels that are not known to be lung or not.", at_least=0
    )
    bounds_dir: str = config_field(
        "", "Folder of masks that contain the lungs: outside is background, inside lung or not known."
    )
    add_dir: str | None = config_field(None, "Another folder with images/ and masks/, whose cases are added.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lung_labels = list(self.lung_labels)
        if any(label < 0 for label in self.lung_labels):
            self.refuse("lung_labels", "must hold values from 0 on", "They are pixel values, e.g. [1,2].")
        if self.ignore_value in self.lung_labels:
            self.refuse("ignore_value", "is one of data.folder.lung_labels", "A pixel is lung, or not known.")


@dataclass
class DataConfig(ConfigGroup, prefix="data."):
    """Where radiographs come from, how they are prepared, split and batched."""

    name: str = config_field(MISSING, "Name of the prepared set and its folder.", file_name=True)
    source: str = config_field(MISSING, "Layout of the raw files.", choices=SOURCES)
    raw_dir: str = config_field("data/raw", "Folder of the raw radiographs.")
    prepared_dir: str = config_field("data/segmentation", "Folder that prepared sets are written to.")
    download: bool = config_field(False, "Download the official archives to data.raw_dir first.")
    image_size_px: int = config_field(512, "Height and width of the network's input in px.", at_least=16, at_most=4096)
    resize: str = config_field("stretch", "How a radiograph is made square.", choices=RESIZE_MODES)
    test_cases: float = config_field(0.15, "Cases of the test split: a number, or a fraction below 1.", above=0)
    validation_fraction: float = config_field(0.2, "Fraction of the rest used for validation.", above=0, below=1)
    split_seed: int = config_field(0, "Random seed of the split.", at_least=0)
    folds: int = config_field(0, "k-fold cross-validation instead of validation_fraction; 0: off.", at_least=0)
    fold: int = config_field(0, "The fold used for validation, counted from 0.", at_least=0)
    max_megapixels: int = config_field(MAX_MEGAPIXELS, "Largest raw file to decode, in megapixels.", at_least=1)
    window: str = config_field("auto", "Grey levels of DICOM: by its own window, or none.", choices=WINDOWS)
    on_error: str = config_field("skip", "What preparing does with a corrupt case.", choices=("skip", "stop"))
    epochs: int = config_field(50, "Passes over this set, unless trainer.max_epochs is given.", at_least=1)
    batch_size: int = config_field(8, "Radiographs per batch and device.", at_least=1)
    workers: int | None = config_field(None, "Data loading processes; null: up to 8 for CUDA, else 0.", at_least=0)
    synthetic_per_epoch: int = config_field(0, "Phantoms added to each epoch, other ones each time.", at_least=0)
    additional: str | None = config_field(None, "Folder of a prepared set whose cases are all trained on as well.")
    additional_repeats: int = config_field(1, "How often in an epoch, augmented differently.", at_least=1)
    exclude: str | None = config_field(None, "File with a case id per line; these cases are not trained on.")
    phantom: PhantomConfig = nested(PhantomConfig)
    folder: FolderConfig = nested(FolderConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_cases > 1 and self.test_cases % 1:
            self.refuse("test_cases", "must be a whole number or a fraction below 1", "Try data.test_cases=0.2.")
        if self.folds == 1:
            self.refuse("folds", "must be 0 (off) or at least 2", "Try data.folds=5.")
        if self.fold >= max(self.folds, 1):
            self.refuse("fold", f"must be below data.folds={self.folds}", "Folds are counted from 0.")
        if self.synthetic_per_epoch and self.source == "phantom":
            rule = "is for real radiographs: it would add the phantoms that data=phantom tests on"
            self.refuse("synthetic_per_epoch", rule, "Raise data.phantom.cases instead.")
        if self.synthetic_per_epoch > self.phantom.cases:
            rule = f"must be at most data.phantom.cases={self.phantom.cases}"
            self.refuse("synthetic_per_epoch", rule, "Raise data.phantom.cases: that many are generated, once.")

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "DataConfig":
        """The data settings that a checkpoint keeps as plain values."""
        values = {RENAMED_DATA_KEYS.get(key, key): value for key, value in values.items()}
        groups = {"phantom": PhantomConfig(**values["phantom"]), "folder": FolderConfig(**values["folder"])}
        return cls(**values | groups)


@dataclass
class AugmentationConfig(ConfigGroup, prefix="augmentation."):
    """Random variation of training radiographs; 0 switches one off."""

    rotation_deg: float = config_field(0.0, "Largest rotation either way, in degrees.", at_least=0, at_most=180)
    scale: float = config_field(0.0, "Largest change of size of each axis, as a fraction.", at_least=0, below=1)
    shift: float = config_field(0.0, "Largest shift along each axis, as a fraction of the size.", at_least=0, below=1)
    horizontal_flip: float = config_field(0.0, "Probability of swapping left and right.", at_least=0, at_most=1)
    brightness: float = config_field(0.0, "Largest change of brightness, 1 is black to white.", at_least=0, at_most=1)
    contrast: float = config_field(0.0, "Largest change of contrast, as a fraction.", at_least=0, at_most=1)
    gamma: float = config_field(0.0, "Largest change of gamma: 0.3 draws from 0.7 to 1.3.", at_least=0, below=1)
    tone_curve: float = config_field(0.0, "Probability of a random tone curve.", at_least=0, at_most=1)
    shading: float = config_field(0.0, "Largest unevenness of exposure: 0.4 is a factor of 1.4.", at_least=0, at_most=9)
    noise: float = config_field(0.0, "Largest SD of Gaussian noise, 1 is black to white.", at_least=0, at_most=1)
    blur_px: float = config_field(0.0, "Largest SD of a Gaussian blur, in pixels.", at_least=0, at_most=32)
    elastic: float = config_field(0.0, "Largest elastic shift, as a fraction of the size.", at_least=0, at_most=0.1)
    opacity: float = config_field(0.0, "Probability of opacities, as of pneumonia or fluid.", at_least=0, at_most=1)
    lucency: float = config_field(0.0, "Probability of dark patches, as of gas below the lungs.", at_least=0, at_most=1)
    invert: float = config_field(0.0, "Probability of swapping bright and dark.", at_least=0, at_most=1)


@dataclass
class ModelConfig(ConfigGroup, prefix="model."):
    """The U-Net."""

    base_channels: int = config_field(16, "Channels of the first level, doubled per level.", at_least=1, at_most=256)
    max_channels: int = config_field(1024, "Most channels of a level.", at_least=1)
    depth: int = config_field(4, "Number of times the resolution is halved.", at_least=1, at_most=8)
    normalization: str = config_field("batch", "After each convolution.", choices=("batch", "instance", "group"))


@dataclass
class LossConfig(ConfigGroup, prefix="loss."):
    """Binary cross-entropy on the logits plus weighted soft Dice."""

    dice_weight: float = config_field(0.0, "Weight of the soft Dice loss; cross-entropy has 1.", at_least=0)
    positive_weight: float = config_field(1.0, "Weight of a lung pixel relative to a background pixel.", above=0)
    outside_weight: float = config_field(1.0, "Weight of a background pixel in a partly known mask.", above=0)


@dataclass
class TrainerConfig(ConfigGroup, prefix="trainer."):
    """Arguments of pytorch_lightning.Trainer."""

    accelerator: str = config_field("auto", "Device type.", choices=("auto", "cpu", "gpu", "cuda", "mps"))
    devices: Any = config_field(1, "Devices per machine: a number, a list of indices, or auto.")
    num_nodes: int = config_field(1, "Number of machines.", at_least=1)
    strategy: str = config_field("auto", "Distributed strategy.", choices=("auto", "ddp"))
    precision: str = config_field("auto", f"{AUTO_PRECISION}.", choices=("auto", "32-true", "bf16-mixed", "16-mixed"))
    max_epochs: int = config_field("${data.epochs}", "Passes over the training cases.", at_least=1)
    accumulate_grad_batches: int = config_field(1, "Batches per optimizer step.", at_least=1)
    gradient_clip_val: float | None = config_field(None, "Largest norm of the gradient; null: no limit.", above=0)
    sync_batchnorm: bool = config_field(False, "Compute batch statistics over all devices.")
    benchmark: bool = config_field(False, "Let cuDNN time its algorithms at the start and use the fastest.")
    log_every_n_steps: int = config_field(10, "Optimizer steps between two points of a training curve.", at_least=1)
    check_val_every_n_epoch: int = config_field(1, "Epochs between two validations.", at_least=1)
    enable_progress_bar: bool = config_field(True, "Show a progress bar on a terminal.")


@dataclass
class SearchConfig(ConfigGroup, prefix="search."):
    """Hyperparameter search with Optuna for the best validation Dice: search=lr_batch."""

    name: str | None = config_field(None, "Folder in runs/search; the same command resumes it.", file_name=True)
    sampler: str = config_field("tpe", "How values are chosen.", choices=SAMPLERS)
    trials: int = config_field(20, "Number of trainings; a grid ends after all combinations.", at_least=1)
    pruning: bool = config_field(True, "Stop a training whose validation Dice is below the median of the others.")
    storage: str | None = config_field(None, "SQL URL that machines may share; null: search.db in the search's folder.")
    trial: int | None = config_field(None, "Number of this training; set by the search.", at_least=0)
    params: dict[str, Any] = target_kwargs("Values to try by key: choice(4,8) or tag(log,interval(1e-4,1e-2)).")


@dataclass
class TrainConfig(ConfigGroup):
    """train.py: train a network, then score its best checkpoint on the test split."""

    seed: int = config_field(0, "Seed of weights, case order and augmentation.", at_least=0, at_most=2**32 - 1)
    compile: bool = config_field(False, "Compile the network (torch.compile): takes a minute, pays on a GPU.")
    data: DataConfig = nested(DataConfig)
    augmentation: AugmentationConfig = nested(AugmentationConfig)
    model: ModelConfig = nested(ModelConfig)
    loss: LossConfig = nested(LossConfig)
    optimizer: dict[str, Any] = target_kwargs("Class in optimizer._target_ and its arguments, e.g. optimizer.lr=1e-3.")
    scheduler: dict[str, Any] = target_kwargs(
        "Class in scheduler._target_ and its arguments; total_steps, T_max, total_iters: null is all steps."
    )
    trainer: TrainerConfig = nested(TrainerConfig)
    resume: str | None = config_field(None, "Run directory of a training to resume.")
    init: str | None = config_field(None, "Initial weights: checkpoint, run directory or .safetensors; null: random.")
    logger: str = config_field("tensorboard", "Further curves by Lightning's loggers.", choices=LOGGERS)
    dry_run: bool = config_field(False, "Report data, steps, time and memory of the training, and write nothing.")
    checkpoint_every_n_steps: int | None = config_field(
        None, "Steps between checkpoints in an epoch; null: none.", at_least=1
    )
    patience_epochs: int = config_field(50, "Stop after so many validations without a better Dice; 0: off.", at_least=0)
    search: SearchConfig = nested(SearchConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        step = 2**self.model.depth
        if self.data.image_size_px % step:
            nearest = max(step, round(self.data.image_size_px / step) * step)
            rule = f"must be a multiple of {step}, since model.depth={self.model.depth} halves it that many times"
            self.data.refuse("image_size_px", rule, f"The nearest is data.image_size_px={nearest}.")
        # Torch refuses to normalise a single value, and only when the first batch is trained on.
        alone = self.model.normalization == "instance" or (
            self.model.normalization == "batch" and self.data.batch_size == 1
        )
        if self.data.image_size_px == step and alone:
            rule = f"has one value to normalise: model.depth={self.model.depth} halves data.image_size_px={step} to 1"
            self.model.refuse("normalization", rule, "Lower model.depth, or use model.normalization=group.")
        epochs = self.trainer.max_epochs
        if not is_unresolved(epochs) and self.trainer.check_val_every_n_epoch > epochs:
            rule = f"must be at most trainer.max_epochs={epochs}"
            self.trainer.refuse("check_val_every_n_epoch", rule, "Without a validation there is no best checkpoint.")


@dataclass
class EvaluateConfig(ConfigGroup):
    """evaluate.py: score a checkpoint on one split of a prepared set."""

    checkpoint: str | None = config_field(None, "Checkpoint file or run directory (its best); null: runs/train/latest.")
    checkpoints: Any = config_field(None, "[a,b] or the directory of a sweep; folds are scored out of fold.")
    compare: Any = config_field(None, "[a,b]: compare evaluations that exist, case by case, with the first of them.")
    split: str = config_field("test", "Cases to score.", choices=(*SPLITS, "all"))
    robustness: bool = config_field(False, "Also score the cases corrupted, severity by severity; takes minutes.")
    data: DataConfig = nested(DataConfig)
    augmentation: AugmentationConfig = nested(AugmentationConfig)
    trainer: TrainerConfig = nested(TrainerConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint is not None and self.checkpoints is not None:
            self.refuse("checkpoint", "does not go with checkpoints=", "Give one of the two.")
        if self.compare is not None and not (isinstance(self.compare, list) and len(self.compare) > 1):
            self.refuse("compare", "needs two or more evaluations", "Give their folders: compare=[runs/a,runs/b]")
        if self.checkpoints is not None and not (self.checkpoints and isinstance(self.checkpoints, str | list)):
            self.refuse("checkpoints", "names no checkpoint", "Give several, [a,b], or the directory of a sweep.")
        if self.robustness and (self.checkpoints is not None or any(vars(self.augmentation).values())):
            raise UserError(
                "robustness=true does not go with checkpoints= or augmentation=.\n"
                "It corrupts the cases itself, and scores one checkpoint=."
            )


@dataclass
class ExportConfig(ConfigGroup):
    """export.py: a network for other runtimes, checked against PyTorch, with a model card."""

    checkpoint: str | None = config_field(
        None, "Checkpoint or run directory; null: runs/train/latest, else shipped weights."
    )
    format: str = config_field("onnx", "File format.", choices=(*FORMATS, "all"))
    half: bool = config_field(True, "Write safetensors in half precision.")
    output: str = config_field(MISSING, "Folder to write to; default: runs/export/<time>.")


@dataclass
class PredictConfig(ConfigGroup):
    """predict.py: segment the lungs of radiographs, each mask at the size of its radiograph."""

    input: str = config_field(MISSING, "File, folder, pattern such as films/*.png, or .txt list with a path per line.")
    output: str = config_field(MISSING, "Folder that masks, overlays and predictions.csv are written to.")
    checkpoint: Any = config_field(
        None, "Checkpoint, run directory, .safetensors or .onnx, or an ensemble [a,b]; null: shipped weights."
    )
    flip: bool = config_field(False, "Average with the prediction for the mirrored radiograph.")
    cleaning: bool = config_field(True, "Remove what cannot be lung or is none in a smaller view, and fill holes.")
    overlay: bool = config_field(True, "Write the radiograph with the lung contours.")
    crop: bool = config_field(False, "Write the box around the lungs, unchanged and with all but the lungs faded out.")
    tuberculosis: Any = config_field(
        False, "Look for signs of tuberculosis: true, efficientnet, both, or a run directory of tuberculosis.py."
    )
    tuberculosis_encoder: str | None = config_field(
        None, "Your encoder, module:function, that the classifier of tuberculosis= was fitted on."
    )
    dicom_seg: bool = config_field(False, "Write a DICOM Segmentation object for DICOM input.")
    inverted: bool = config_field(False, "The files show air bright and bone dark.")
    spacing_mm: float | None = config_field(None, "Pixel size, for areas in mm²; null: read from the file.", above=0)
    max_megapixels: int = config_field(MAX_MEGAPIXELS, "Largest file to decode, in megapixels.", at_least=1)
    window: str = config_field("auto", "Grey levels of DICOM: by its own window, or none.", choices=WINDOWS)
    skip_existing: bool = config_field(False, "Skip radiographs whose results are in the output folder.")
    batch_size: int | None = config_field(None, "Radiographs per forward pass; null: 8 on a GPU, else 1.", at_least=1)
    device: str = config_field("auto", "Where the network runs.", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = config_field(
        "auto", f"{AUTO_PRECISION}; ONNX files keep their own.", choices=("auto", "32-true", "bf16-mixed")
    )

    @property
    def checkpoints(self) -> list[str]:
        """Paths of one network or an ensemble; empty: the shipped weights."""
        paths = self.checkpoint if isinstance(self.checkpoint, list) else [self.checkpoint]
        return [str(path) for path in paths if path is not None]

    @property
    def classifier(self) -> str | None:
        """The classifier of the second step: a name or a path; None without a second step."""
        return {"true": "unet", "false": None, "none": None}.get(str(self.tuberculosis).lower(), str(self.tuberculosis))


@dataclass
class ServeConfig(ConfigGroup):
    """serve.py: a local page to look at radiographs, correct their masks, and learn from the corrections."""

    input: str | None = config_field(
        None, "File, folder, pattern such as films/*.png, or .txt list; null: what is dropped on the page."
    )
    output: str = config_field("runs/serve", "Folder of the masks, of dropped radiographs and of trainings.")
    corrections: str = config_field("${output}/corrections", "Folder of the corrections, as data=folder reads it.")
    checkpoint: Any = config_field(
        None, "Checkpoint, run directory, .safetensors or .onnx, or an ensemble [a,b]; null: shipped weights."
    )
    tuberculosis: Any = config_field(
        False, "Look for signs of tuberculosis: true, efficientnet, or a run directory of tuberculosis.py."
    )
    inverted: bool = config_field(False, "The files show air bright and bone dark.")
    max_megapixels: int = config_field(MAX_MEGAPIXELS, "Largest file to decode, in megapixels.", at_least=1)
    window: str = config_field("auto", "Grey levels of DICOM: by its own window, or none.", choices=WINDOWS)
    device: str = config_field("auto", "Where the network runs.", choices=("auto", "cpu", "cuda", "mps"))
    host: str = config_field("127.0.0.1", "Address to listen on; any but this machine's own needs the printed token.")
    port: int = config_field(8765, "Port to listen on; 0: any free one.", at_least=0, at_most=65535)
    browser: bool = config_field(True, "Open the page in a browser.")

    @property
    def prediction(self) -> PredictConfig:
        """The settings of predict.py that give the same masks."""
        return PredictConfig(
            input=self.input or self.output,  # what was dropped there
            output=self.output,
            checkpoint=self.checkpoint,
            tuberculosis=self.tuberculosis,
            inverted=self.inverted,
            window=self.window,
            max_megapixels=self.max_megapixels,
            device=self.device,
            overlay=False,
        )


@dataclass
class PrepareConfig(ConfigGroup):
    """prepare_data.py: raw radiographs into a prepared set."""

    dry_run: bool = config_field(False, "Report which radiographs and masks are found, and write nothing.")
    check: bool = config_field(False, "Prepare nothing; check the prepared set for errors and outliers.")
    shard: str | None = config_field(None, "Prepare one part, other processes the rest: 3/16 is the third of 16.")
    data: DataConfig = nested(DataConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard is not None and not self.part:
            self.refuse("shard", "must be two numbers such as 3/16, the first from 1 to the second", "Try shard=1/2.")
        if self.shard is not None and self.check:
            self.refuse("shard", "does not go with check=true", "Only a whole set can be checked: leave out shard=.")

    @property
    def part(self) -> tuple[int, int] | None:
        """The shard to prepare, (3, 16) being the third of 16; None for the whole set."""
        match = re.fullmatch(r"(\d+)/(\d+)", str(self.shard))
        number, of = (int(match[1]), int(match[2])) if match else (0, 0)
        return (number, of) if 1 <= number <= of else None


@dataclass
class SecondStepConfig(ConfigGroup, prefix="second_step."):
    """Signs of a disease inside the lungs."""

    encoder: str = config_field("unet", f"Network whose feature maps describe the lungs: {ENCODER_RULE}.")
    label: str = config_field("tb_label", "Column of manifest.csv, or of the table, that holds the label, 0 or 1.")
    table: str | None = config_field(None, "CSV file with a line for each radiograph: film,label.")
    seeds: int = config_field(5, "Repetitions with other folds.", at_least=1, at_most=100)
    checkpoint: str | None = config_field(None, "Network of the lungs, and the encoder unet; null: shipped weights.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder not in ENCODERS and not OWN_ENCODER.fullmatch(self.encoder):
            self.refuse("encoder", f"must be one of {ENCODER_RULE}", "The last is yours: see docs/second_step.md.")


@dataclass
class TuberculosisConfig(ConfigGroup):
    """tuberculosis.py: look for signs of tuberculosis inside the lungs, and measure what holds at another hospital."""

    data: DataConfig = nested(DataConfig)
    second_step: SecondStepConfig = nested(SecondStepConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.image_size_px < MIN_SECOND_STEP_PX:
            rule = f"must be at least {MIN_SECOND_STEP_PX} to look for signs inside the lungs"
            self.data.refuse("image_size_px", rule, "Measured with data.image_size_px=512.")
