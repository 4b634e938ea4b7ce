"""Which lines a `.env` may hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.dotenv import parse


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  export A = b  ", "b"),
        ("A=", ""),
        ("A=''", ""),
        ("A=b c", "b c"),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ("A='b # c'", "b # c"),
        (r'A="b\n\"c\" \\ \$"', 'b\n"c" \\ $'),
        ("A='b' # comment", "b"),
        ("A=${B}", "${B}"),
        ("A=http://192.168.10.29:8000", "http://192.168.10.29:8000"),
        ("A=p=q", "p=q"),
        ("A=it's", "it's"),
    ],
)
def test_a_line_is_read(line, value):
    assert parse(line).variables == {"A": value}
    assert parse(line).flaws == ()


@pytest.mark.parametrize("line", ["A", "A B=c", "1A=b", "=b", "A='b", 'A="b', "A='b'c", "export", "A: b"])
def test_a_line_is_refused(line):
    parsed = parse(f"X=1\n{line}\n\n# comment\nY=2")
    assert parsed.variables == {"X": "1", "Y": "2"}
    (flaw,) = parsed.flaws
    assert flaw.line == 2


def test_the_last_line_of_a_name_wins():
    assert parse("A=1\r\nA=2\r\n").variables == {"A": "2"}


@given(st.text(max_size=80))
def test_no_text_is_too_strange(text):
    parse(text)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,8}", fullmatch=True),
        st.text(st.characters(codec="ascii", exclude_characters="'\n\r\v\f\x1c\x1d\x1e")),
    )
)
def test_quoted_values_are_read_back(variables):
    assert parse("\n".join(f"{name}='{value}'" for name, value in variables.items())).variables == variables
