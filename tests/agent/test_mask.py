"""Known secrets are taken out of texts, in whatever form programs print them."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote, quote_plus

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.agent.secrets.mask import MASK, Mask

SECRETS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=6).filter(
    lambda text: len(text.strip()) >= 6
)
AROUND = st.text(st.sampled_from("ab c\n"), max_size=7)


@settings(deadline=None)
@given(SECRETS, AROUND, AROUND)
def test_no_form_is_left(secret: str, before: str, after: str) -> None:
    mask = Mask([secret])
    stripped = secret.strip()
    for form in (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret), shlex.quote(secret)):
        shown = mask(f"{before}{form}{after}")
        assert MASK in shown
        assert stripped not in shown
    assert stripped.encode().hex() not in mask(before + stripped.encode().hex())


@settings(deadline=None)
@given(st.text(st.sampled_from("abcxyz-/+0123"), min_size=8), AROUND, AROUND)
def test_nor_within_base64_of_more(secret: str, before: str, after: str) -> None:
    whole = base64.b64encode((before + secret + after).encode()).decode()
    assert MASK in Mask([secret])(whole)


def test_line_by_line_and_in_other_letters() -> None:
    mask = Mask(["-----BEGIN\nsecond-line\n"])
    assert mask("it says SECOND-LINE now") == f"it says {MASK} now"


def test_short_ones_and_none() -> None:
    assert Mask(["abc", ""])("abc def") == "abc def"
    assert Mask([])("abc") == "abc"
    assert "hunter2" not in repr(Mask(["hunter2"]))
