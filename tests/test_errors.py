from xfm.errors import LONGEST_MESSAGE, UserError


def test_a_message_is_short_whatever_a_file_holds() -> None:
    """The beginning says where it is, the end what to do."""
    said = str(UserError(f"a.csv:3: the label is {'x' * 10**6}; mend the row"))
    assert len(said) < LONGEST_MESSAGE
    assert said.startswith("a.csv:3: the label is xxx")
    assert said.endswith("; mend the row")
    assert str(UserError("a\x1b[31m\ud800\nb")) == "a\\x1b[31m\\ud800\\nb"
