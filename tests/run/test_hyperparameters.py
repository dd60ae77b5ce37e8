from src.run.hyperparameters import COLUMNS, hyperparameters

SETTINGS = {
    **{"model.loss": "cross_entropy", "model.hidden_sizes": [256, 128], "optimizer.lr": 0.1, "data.batch_size": 64},
    **{"optimizer.weight_decay": 0.0, "seed": 3, "trainer.max_epochs": 5, "model.dropout": 0.5, "figures": "all"},
    **{"model.batch_norm": True, "data.resize": None},
}
CHOICES = {"model": "mlp", "data": "cifar2", "optimizer": "sgd", "scheduler": "constant"}


def test_a_run_has_the_settings_that_the_issue_names() -> None:
    assert hyperparameters(SETTINGS, CHOICES, typed=[]) == {
        **{"model": "mlp", "data": "cifar2", "loss": "cross_entropy", "optimizer": "sgd", "scheduler": "constant"},
        **{"lr": 0.1, "batch_size": 64, "weight_decay": 0.0, "hidden_sizes": "256,128", "max_epochs": 5, "seed": 3},
    }


def test_every_run_has_the_same_columns_and_those_that_were_typed() -> None:
    softmax = {key: value for key, value in SETTINGS.items() if key != "model.hidden_sizes"}
    assert hyperparameters(softmax, CHOICES, typed=[])["hidden_sizes"] == ""
    typed = ["model.dropout", "model.batch_norm", "data.resize", "optimizer.lr", "figures", "model"]
    found = hyperparameters(SETTINGS, CHOICES, typed)
    assert list(found) == [*COLUMNS, "model.dropout", "model.batch_norm", "data.resize"]
    assert (found["model.dropout"], found["model.batch_norm"], found["data.resize"]) == (0.5, "true", "none")
