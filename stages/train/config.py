"""The section `train` of a pipeline's YAML: how the candidate is trained."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from evergreen.core.config import Fraction, Section, Seed, Share, Value
from evergreen.core.errors import PipelineError

STRATEGY = ("parallel", "compile", "activation_checkpointing", "profile")  # the result does not depend on it
OWN = (  # fields of TrainConfig that are not the recipe's
    *("augment", "train_on_validation", "class_balanced", "bucket_by_length", "memory_mb", "init_from"),
    *("freeze", "options", "workers", "device", "max_failures", "storage_bytes", "hang_seconds", *STRATEGY),
)
RECIPE = {  # key of the YAML → field of the recipe, where they differ
    "grad_clip_norm": "clip",
    "grad_accumulation": "accumulate",
    "early_stopping_patience": "patience",
    "restore": "keep",
    "warmup_fraction": "warmup_share",
}
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Workers = Annotated[int, Field(ge=1, le=4096)]
WorkerRange = Annotated[str, Field(pattern=r"^[1-9]\d{0,2}\.\.[1-9]\d{0,2}$")]
Strength = Annotated[float, Field(ge=0, le=1e6)]


class TrainConfig(Section):
    """Say how the candidate is trained. What is None is taken from tune, else from the architecture's defaults."""

    RENAMED: ClassVar = {
        "refit": "train_on_validation",
        "balance": "class_balanced",
        "bucket": "bucket_by_length",
        "start_from": "init_from",
        **{field: key for key, field in RECIPE.items()},
    }
    REWORDED: ClassVar = {"freeze": {"nothing": "none", "features": "backbone"}}

    workers: Workers | WorkerRange = Field(1, examples=["2..8"])
    """Processes that share each batch; of 2..8 as many as there is room for, also as machines come and go."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it trains; auto: cuda where the cluster has it."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """Each worker holds the whole network (ddp) or a share of each block (fsdp); auto: fsdp where memory is short."""
    compile: bool | Literal["auto"] = False
    """By torch.compile; auto: where it trains on a GPU and the network has ten million weights."""
    activation_checkpointing: bool = False
    """Compute activations of blocks twice, which takes time, in the place of keeping them, which takes memory."""
    profile: bool = False
    """Record ten steps of each worker as a trace that ui.perfetto.dev opens; its path stands in the summary."""
    hang_seconds: float = Field(3600, ge=0, le=1e6)
    """Seconds without a step after which a worker logs its stack and is replaced; 0 is never."""
    max_failures: int = Field(3, ge=0, le=1_000_000)
    """Times that dead workers are started again."""
    storage_bytes: int = Field(2 * 2**30, ge=0, le=2**60)
    """Bytes that checkpoints of earlier runs may take; above it the oldest are removed."""
    seed: Seed = 0
    """Of the first weights, the order of rows and dropout."""
    train_on_validation: bool | None = None
    """Train on the validation rows as well, once all is chosen by them; intervals, by a run without them.

    By default up to 3,000 rows, 10,000 of a table, in no order of time, where folds for intervals are no great work."""
    class_balanced: bool = False
    """Show each class equally often, however many rows it has."""
    bucket_by_length: bool = False
    """Batch texts or sounds of about one length together, so that little is padding."""
    memory_mb: int = Field(1024, ge=1, le=2**24)
    """MiB of each worker for rows: those that fit, encoded, are kept; else they are streamed."""
    init_from: str = Field(
        "", pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]*@v\d+\.\d+\.\d+[^@#!\s]*)?$", examples=["digits@v1.0.0"]
    )
    """NAME@VERSION of a released version whose weights and architecture it begins with."""
    freeze: Literal["none", "backbone"] = "none"
    """Of what it begins with: backbone trains the head alone, none everything."""
    options: dict[str, Value | list[Value]] = {}
    """Options of the architecture, where those that tune chose do not serve."""
    augment: bool = False
    """Vary training rows as their kinds do: images (not under masks, boxes) are turned, scaled …"""
    epochs: Count | None = None
    """Passes over the training rows."""
    stop_epoch: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Epoch after which it ends, though the schedule is that of all epochs; 0 is the last."""
    batch_size: Count | None = None
    """Rows of one batch, over all workers."""
    learning_rate: Annotated[float, Field(gt=0, le=1000)] | None = None
    """At its peak."""
    weight_decay: Strength | None = None
    """Of matrices, not of norms and biases."""
    prior: Strength | None = None
    """Weight decay over the number of training rows, besides: it fades as rows come."""
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "muon"] | None = None
    """Muon is for hidden matrices; the rest then learns by adamw."""
    momentum: Share | None = None
    """Of sgd: the fraction of the last step's direction that is kept."""
    layer_decay: Fraction | None = None
    """Each layer learns at this fraction of the rate of the one nearer the output."""
    schedule: Literal["cosine", "constant", "one_cycle", "plateau"] | None = None
    """Of the learning rate."""
    warmup_fraction: Fraction | None = None
    """Of all steps, those in which cosine and plateau climb to their peak."""
    plateau_patience: Count | None = None
    """Epochs without a better validation after which a plateau's rate falls."""
    grad_clip_norm: Strength | None = None
    """Largest norm of the gradient, 0 is off."""
    grad_spike_factor: Strength | None = None
    """A gradient so many times longer than the running mean makes no step, as one that is no number; 0 is off."""
    lr_after_skip: Share | None = None
    """Each step that was not made leaves this share of the learning rate to later ones."""
    grad_accumulation: Count | None = None
    """Batches that make one step."""
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    """Of matrix products; weights stay float32."""
    ema: Share | None = None
    """Fraction of the running mean of weights that a step keeps, 0 is off."""
    swa: Fraction | None = None
    """Fraction of all steps, the last ones, whose weights are averaged evenly instead, 0 is off."""
    mixup: Strength | None = None
    """α of the Beta distribution by which pairs of rows are mixed, 0 is off."""
    early_stopping_patience: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Epochs without a better validation after which it ends, 0 is never."""
    restore: Literal["best", "last"] | None = None
    """The epoch whose weights are the result: the best validated, or the last."""
    checkpoint_seconds: Annotated[float, Field(ge=0, le=1e9)] | None = None
    """Seconds between two checkpoints; 0 is after every step."""

    @property
    def worker_range(self) -> tuple[int, int]:
        """The fewest and the most workers."""
        fewest, _, most = str(self.workers).partition("..")
        return int(fewest), int(most or fewest)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.worker_range[0] > self.worker_range[1]:
            raise PipelineError(f"workers: {self.workers} is no range", fix="write the fewest first, as 2..8")
        if self.freeze != "none" and not self.init_from:
            fix = "name the version to start from (init_from), or leave freeze out"
            raise PipelineError("freeze needs init_from: without it random features would stay frozen", fix=fix)
        if self.init_from and self.options:
            fix = "leave options out: the version named by init_from has its own"
            raise PipelineError("options and init_from contradict each other", fix=fix)
        if self.train_on_validation and (self.restore == "best" or self.early_stopping_patience):
            problem = "train_on_validation leaves no rows for restore: best or early_stopping_patience"
            raise PipelineError(problem, fix="leave train_on_validation out, or the other two")
        return self

    @property
    def strategy(self) -> dict[str, Any]:
        """The keys that say who holds which weights and how a step is computed, with their values."""
        return {name: getattr(self, name) for name in STRATEGY}

    def recipe(self) -> dict[str, Any]:
        """Return the recipe's fields that were set, under the recipe's names."""
        return {RECIPE.get(name, name): value for name, value in self if name not in OWN and value is not None}
