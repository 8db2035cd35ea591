"""A page that answers queries, on this machine alone: the standard library's server, no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, urlsplit

from common.printable import printable
from evaluation.search.answers import Answer, answers_of, place_words, shared
from evaluation.search.index import Document, Index

LOOPBACK = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")  # another name would be a foreign page that was led here
LONGEST = 20_000  # characters of a query
SHOWN = 600  # of a document
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
STYLE = """
:root { color-scheme: light dark; --edge: #8886; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1rem; }
h1 { font-size: 1.25rem; } h2 { font-size: 1.05rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
form { display: flex; gap: .5rem; } input { flex: 1; font: inherit; min-width: 0; padding: .5rem; }
button { font: inherit; padding: .5rem 1rem; }
.systems { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
ol { margin: 0; padding: 0; list-style: none; }
li { border-top: 1px solid var(--edge); padding: .6rem 0; overflow-wrap: anywhere; }
li.alone { background: var(--soft); padding-inline: .5rem; }
.facts { font-size: .85rem; opacity: .8; }
"""


class Server(ThreadingHTTPServer):
    """The server of the page.

    Attributes:
        indexes: of one or two systems.
        top: documents that are shown.
        busy: held while a query is encoded: a model encodes one at a time.
    """

    daemon_threads = True

    def __init__(self, port: int, indexes: Sequence[Index], top: int) -> None:
        super().__init__((LOOPBACK, port), Handler)
        self.indexes, self.top, self.busy = indexes, top, Lock()

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://{LOOPBACK}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """Answers ``GET /?q=…``."""

    server: Server
    server_version, sys_version = "search", ""

    def do_GET(self) -> None:
        """Answer with the page, or refuse."""
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        address = urlsplit(self.path)
        if host not in HOSTS:
            self.answer(403, "this page is for this machine alone")
            return
        if address.path != "/":
            self.answer(404, "there is no such page")
            return
        query = (parse_qs(address.query).get("q") or [""])[0]
        if len(query) > LONGEST:
            self.answer(400, f"a query has at most {LONGEST} characters")
            return
        answers: list[Answer] = []
        if query.strip():
            with self.server.busy:
                answers = answers_of(self.server.indexes, query, self.server.top)
        self.answer(200, page(query, answers, self.server.indexes))

    def answer(self, status: int, content: str) -> None:
        """Send a page."""
        data = content.encode("utf-8", errors="replace")
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Keep queries out of the terminal."""


def page(query: str, answers: Sequence[Answer], indexes: Sequence[Index]) -> str:
    """Return the page with the answers to a query; none before the first."""
    documents = indexes[0].documents
    body = [f"<h1>Search in {len(documents):,} documents</h1>", form(query)]
    if len(answers) == 2:
        body.append(f"<p>{shared(answers)} of {len(answers[0].hits)} documents are found by both.</p>")
    columns = []
    for number, answer in enumerate(answers):
        other = answers[1 - number] if len(answers) == 2 else None
        columns.append(column(answer, other, documents))
    if columns:
        body.append(f'<div class="systems">{"".join(columns)}</div>')
    else:
        names = " and ".join(escape(index.name) for index in indexes)
        body.append(f"<p>Systems: {names}. Write a query; the best documents of each are shown.</p>")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Search</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(body)}</body></html>'


def form(query: str) -> str:
    """Return the line in which a query is written."""
    field = f'<input name="q" value="{escape(query)}" aria-label="Query" placeholder="Query" autofocus>'
    return f'<form action="/" method="get">{field}<button>Search</button></form>'


def shown(text: str) -> str:
    """Return a document's words as HTML text, without signs that turn the direction of what stands beside them."""
    return escape(printable(text))


def column(answer: Answer, other: Answer | None, documents: Sequence[Document]) -> str:
    """Return the documents of one system."""
    items = []
    for place, hit in enumerate(answer.hits, start=1):
        document = documents[hit.document]
        facts = [f"{place}", f"cosine {hit.score:.3f}", shown(document.id)]
        alone = other is not None and other.place(hit.document) is None
        if other is not None:
            facts.append(escape(place_words(other, hit.document)))
        title = f"<strong>{shown(document.title)}</strong> " if document.title else ""
        text = shown(document.text[:SHOWN]) + (" …" if len(document.text) > SHOWN else "")
        kind = ' class="alone"' if alone else ""
        items.append(f'<li{kind}><div class="facts">{" · ".join(facts)}</div>{title}{text}</li>')
    return f"<section><h2>{escape(answer.name)}</h2><ol>{''.join(items)}</ol></section>"
