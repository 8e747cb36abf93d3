"""Whether an error is told as it should be: what happened, where, and what helps, in a sentence or two, and nothing of what lies below.

Needs no test library.
"""

from __future__ import annotations

import pickle
import re
import traceback
from typing import Final

from smr_notebook import errors
from smr_notebook.errors import SmrError

_LITERAL: Final = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|\([^()]*\)")
_END: Final = re.compile(r"[.!?](?=\s|$)")
_HEAD: Final = re.compile(r"^\w+ in (map|reduce) task \d+: ")
_BELOW: Final = ("An error occurred (", "Traceback", "botocore", "boto3/", "urllib3", "site-packages")


def check_sentence(error: BaseException, kind: type[SmrError], *named: str) -> str:
    """Return the text of an error, and assert that it is of a class, clear and short, names things, and comes alone.

    Args:
        error: As it was raised.
        kind: Its class, exactly.
        named: What its text must name: the thing, and what helps.
    """
    text = str(error)
    assert type(error) is kind, repr(error)
    assert getattr(errors, kind.__name__) is kind
    assert [name for name in named if name not in text] == [], text
    told = _LITERAL.sub("", _HEAD.sub("", text))
    assert len(_END.findall(told)) + len(re.findall(r"[^.!?]\n", told)) <= 2, text
    assert [word for word in _BELOW if word in text] == [], text
    assert text.endswith((".", "?")), text
    shown = "".join(traceback.format_exception(error))
    assert "An error occurred (" not in shown, shown
    assert "another exception" not in shown, shown
    assert "direct cause" not in shown, shown
    assert "botocore" not in shown.replace(text, ""), shown
    assert str(pickle.loads(pickle.dumps(error))) == text
    return text
