"""How a line between institutions is written."""

import pytest

from wire.line import Line


def test_a_line_has_a_rate_and_a_delay() -> None:
    assert Line.parse("20mbps/20ms") == Line(20e6, 0.02)
    assert Line.parse("1.5Gbps/0ms") == Line(1.5e9, 0.0)


@pytest.mark.parametrize("text", ["", "20mbps", "20mbps/20", "20/20ms", "0mbps/1ms", "1.2.3mbps/1ms", "-1mbps/1ms"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="20mbps/20ms"):
        Line.parse(text)
