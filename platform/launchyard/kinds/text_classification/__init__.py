"""Text classification: one label per text, by fine-tuning a transformers encoder or decoder."""

from launchyard.kind import Kind
from launchyard.kinds.text_classification.spec import TextClassification

KIND = Kind(
    name="text-classification",
    summary="One label per text: sentiment, intents, moderation.",
    spec=TextClassification,
    recipe="launchyard.kinds.text_classification.data:TextRecipe",
    train="launchyard.kinds.text_classification.train:train_text_classifier",
    evaluator="launchyard.kinds.text_classification.evaluate:TextEvaluator",
    predictor="launchyard.kinds.text_classification.predict:TextPredictor",
    metrics={
        "accuracy": "max",
        "precision_macro": "max",
        "recall_macro": "max",
        "f1_macro": "max",
        "roc_auc": "max",
        "pr_auc": "max",
        "log_loss": "min",
        "calibration_error": "min",
        "precision[*]": "max",
        "recall[*]": "max",
        "f1[*]": "max",
    },
    undefined=dict.fromkeys(("roc_auc", "pr_auc"), "all test rows have one label"),
    export="launchyard.kinds.text_classification.export:export_text_classifier",
)
