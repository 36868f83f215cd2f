"""The parts that product specs are built from, shared by every kind: what authors of kinds derive theirs from.

Each block is frozen and refuses unknown keys; each field's description is what ``docs/spec.md``,
the JSON schema and the editor's completion show.
"""

from launchyard.spec.blocks.block import HEADLINE, Block, Ineffective, SourceUri, Unit, check_uri, is_set
from launchyard.spec.blocks.data import (
    Checks,
    ClassSources,
    Data,
    Fraction,
    Redaction,
    RowData,
    Split,
    SplitSources,
)
from launchyard.spec.blocks.evaluate import RULE, ChampionComparison, Comparison, Evaluate
from launchyard.spec.blocks.model import Model, PretrainedModel
from launchyard.spec.blocks.product import (
    MAX_PRODUCT_LENGTH,
    Product,
    TrainedProduct,
    TrainsBy,
    find_gradient_train,
    find_train,
    find_tune,
)
from launchyard.spec.blocks.resources import (
    EvaluateResource,
    ReplicaResource,
    Resource,
    Resources,
    StepResource,
    TrialResource,
)
from launchyard.spec.blocks.serve import Replicas, Serve, StreamServe, Swap
from launchyard.spec.blocks.train import EarlyStopping, GradientTrain, ScalableTrain, Train
from launchyard.spec.blocks.tune import Choice, Range, Tune

__all__ = [
    "HEADLINE",
    "MAX_PRODUCT_LENGTH",
    "RULE",
    "Block",
    "ChampionComparison",
    "Checks",
    "Choice",
    "ClassSources",
    "Comparison",
    "Data",
    "EarlyStopping",
    "Evaluate",
    "EvaluateResource",
    "Fraction",
    "GradientTrain",
    "Ineffective",
    "Model",
    "PretrainedModel",
    "Product",
    "Range",
    "Redaction",
    "ReplicaResource",
    "Replicas",
    "Resource",
    "Resources",
    "RowData",
    "ScalableTrain",
    "Serve",
    "SourceUri",
    "Split",
    "SplitSources",
    "StepResource",
    "StreamServe",
    "Swap",
    "Train",
    "TrainedProduct",
    "TrainsBy",
    "TrialResource",
    "Tune",
    "Unit",
    "check_uri",
    "find_gradient_train",
    "find_train",
    "find_tune",
    "is_set",
]
