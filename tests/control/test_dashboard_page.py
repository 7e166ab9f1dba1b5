"""The dashboard as a file: it is whole, asks nobody else, makes no markup of texts, and its colours can be read."""

import base64
import hashlib
import re

import pytest

from prefork.control import dashboard

PAGE = dashboard.page().decode()
STYLE = PAGE.partition("<style>")[2].partition("</style>")[0]
SCRIPT = PAGE.partition("<script>")[2].partition("</script>")[0]
NAMESPACE = "http://www.w3.org/2000/svg"  # a name, which nobody asks for
TEXTS = ["--ink", "--muted", "--blue", "--green", "--amber", "--red", "--violet", "--teal"]
GROUNDS = ["--panel", "--ground"]
CONTRAST = 4.5  # WCAG 2.2, 1.4.3


def test_it_is_one_page_that_names_no_other_host() -> None:
    assert "{style}" not in PAGE
    assert "{script}" not in PAGE
    assert re.findall(r"(?:https?:)?//[a-z][\w.-]*\.\w+[^\s'\"]*", PAGE.replace(NAMESPACE, "")) == []
    assert re.findall(r"<(?:script|link|img|iframe)[^>]* src=", PAGE) == []
    assert "@import" not in STYLE
    assert "url(" not in STYLE


def test_its_policy_allows_just_its_own_style_and_script() -> None:
    policy = dict(part.strip().split(" ", 1) for part in dashboard.policy().split(";"))
    for name, part in (("style-src", STYLE), ("script-src", SCRIPT)):
        assert policy[name] == f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    assert re.findall(r"""\s(?:on[a-z]+|style)=["']""", PAGE.replace(SCRIPT, "")) == []  # the policy forbids them


def test_texts_are_never_made_markup() -> None:
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", SCRIPT) == []


def test_it_has_no_name_twice() -> None:
    """Its scripts are one, so each name at the top must be in one of them only."""
    names = re.findall(r"^(?:async )?(?:const|let|function|class) (\w+)", SCRIPT, re.MULTILINE)
    assert sorted(names) == sorted(set(names))
    ids = re.findall(r'\bid="([\w-]+)"', PAGE.replace(SCRIPT, ""))
    assert sorted(ids) == sorted(set(ids))
    assert set(re.findall(r'\$\("([\w-]+)"\)', SCRIPT)) <= set(ids)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_that_text_has_can_be_read(theme: str) -> None:
    blocks = re.findall(r"^:root[^{]*\{(.*?)^\}", STYLE, re.MULTILINE | re.DOTALL)
    light, dark = (dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", block)) for block in blocks)
    colours = {"light": light, "dark": light | dark}[theme]
    poor = [
        (text, ground, round(contrast(colours[text], colours[ground]), 2))
        for text in TEXTS
        for ground in GROUNDS
        if contrast(colours[text], colours[ground]) < CONTRAST
    ]
    for text, ground in (
        ("--ink", "--red-wash"),
        ("--red", "--red-wash"),
        ("--ink", "--amber-wash"),
        ("--panel", "--red"),
    ):
        assert contrast(colours[text], colours[ground]) >= CONTRAST, (text, ground)
    assert poor == []


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """As WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
