from src.run.hyperparameters import COLUMNS, hyperparameters

SETTINGS = {
    **{"model.loss": "cross_entropy", "model.hidden_sizes": [256, 128], "optimizer.lr": 0.1, "data.batch_size": 64},
    **{"optimizer.weight_decay": 0.0, "seed": 3, "trainer.max_epochs": 5, "model.dropout": 0.5, "figures": "all"},
    **{"model.batch_norm": True, "data.resize": None},
}
CHOICES = {"model": "mlp", "data": "cifar2", "optimizer": "sgd", "scheduler": "constant"}


def test_a_run_has_a_column_for_each_main_setting() -> None:
    assert hyperparameters(SETTINGS, CHOICES, typed=[]) == {
        **{"model": "mlp", "data": "cifar2", "loss": "cross_entropy", "optimizer": "sgd", "scheduler": "constant"},
        **{"lr": 0.1, "batch_size": 64, "weight_decay": 0.0, "hidden_sizes": "256,128", "max_epochs": 5, "seed": 3},
    }


def test_every_run_has_the_main_columns_and_the_other_typed_settings() -> None:
    softmax = {key: value for key, value in SETTINGS.items() if key != "model.hidden_sizes"}
    assert hyperparameters(softmax, CHOICES, typed=[])["hidden_sizes"] == ""
    typed = ["model.dropout", "model.batch_norm", "data.resize", "optimizer.lr", "figures", "model"]
    found = hyperparameters(SETTINGS, CHOICES, typed)
    assert list(found) == [*COLUMNS, "model.dropout", "model.batch_norm", "data.resize"]
    assert (found["model.dropout"], found["model.batch_norm"], found["data.resize"]) == (0.5, "true", "none")
