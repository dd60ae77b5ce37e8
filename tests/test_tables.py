from src.tables import as_markdown, as_text


def test_tables_are_aligned_and_markdown_is_escaped() -> None:
    assert as_text([["a", "b"], ["long", ""], ["x", "y"]]) == "a     b\nlong\nx     y"
    assert as_markdown([["a"], ["x|y\nz"]]) == "| a |\n| --- |\n| x\\|y z |"
