"""Draw the page behind a link by which a person decides: what it is about, and one button."""

from html import escape

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Evergreen: {title}</title>
<meta name="viewport" content="width=device-width">
<h1>{title}</h1>
<p>{text}</p>
{form}
"""
FORM = """<form method="post">
<p><label>Your name <input name="who" maxlength="100" required></label></p>
<p><label>Why <input name="reason" maxlength="1000"{required}></label></p>
<p><button>{action}</button></p>
</form>"""


def draw_question(action: str, pipeline: str, text: str) -> str:
    """Draw the page that asks whether to do it; a rejection needs a reason."""
    form = FORM.format(action=escape(action), required=" required" * (action == "reject"))
    return PAGE.format(title=escape(f"{action} {pipeline}"), text=escape(text), form=form)


def draw_answer(title: str, text: str) -> str:
    """Draw the page that tells what was done, or why not."""
    return PAGE.format(title=escape(title), text=escape(text), form="")
