"""Where Jinja2 is used: a sandbox whose names are worked out when a template asks for them.

Imported only when a template needs it; the import alone takes as long as all the rest.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, cast

from jinja2 import BaseLoader, StrictUndefined, Template
from jinja2.exceptions import SecurityError, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from reconciler.desired.problems import Failed, suggest
from reconciler.desired.rendering import FOLDER, MAX_RENDERED, Broken, Names, Sources, plain

_T = TypeVar("_T")

MAX_ROUNDS = 1_000_000  # of `range` in one rendering, all loops taken together
_SCOPE = "the scope"  # a key of the context that no template can name


class _UndefinedNameError(UndefinedError):
    def __init__(self, message: str, *, name: object, owner: object) -> None:
        super().__init__(message)
        self.name = name
        self.owner = owner


class _Unknown(StrictUndefined):
    """A name without a value; using it raises an error that knows the name."""

    def __init__(
        self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = UndefinedError
    ) -> None:
        if exc is UndefinedError:
            exc = partial(_UndefinedNameError, name=name, owner=obj)
        super().__init__(hint, obj, name, exc)


class _Context(Context):
    """Asks the scope for what the template itself does not define. An included template gets the same scope."""

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        if key in self.parent:
            return self.parent[key]
        scope = cast("Names", self.parent[_SCOPE]) if _SCOPE in self.parent else None
        return missing if scope is None else scope.find(key, missing)


class _Loader(BaseLoader):
    def __init__(self, templates: Sources) -> None:
        self._templates = templates

    def get_source(self, environment: Any, template: str) -> tuple[str, str, Callable[[], bool]]:  # noqa: ARG002
        try:
            return self._templates.source(template), template, lambda: True
        except KeyError:
            raise TemplateNotFound(template) from None

    def list_templates(self) -> list[str]:
        return self._templates.known()


class _Environment(ImmutableSandboxedEnvironment):
    context_class = _Context
    intercepted_binops = frozenset(["*", "**"])

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of a mapping wins over a method of the same name: `vars` may well have `items`."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuses what would fill the memory."""
        if operator == "**" and isinstance(right, int) and abs(right) > 1000:
            raise SecurityError("the exponent is too large")
        for one, other in ((left, right), (right, left)):
            if isinstance(one, (str, list, tuple)) and isinstance(other, int) and len(one) * other > MAX_RENDERED:
                raise SecurityError("the repetition is too long")
        return super().call_binop(context, operator, left, right)


class Engine:
    """Compiles and renders. Whatever goes wrong in a template comes out as `Broken`."""

    def __init__(self, templates: Sources) -> None:
        self._templates = templates
        self._strings: dict[str, Template] = {}
        self._rounds = 0
        self._depth = 0
        self._environment = env = _Environment(
            undefined=_Unknown,
            loader=_Loader(templates),
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        env.filters["quote"] = lambda value: shlex.quote(str(value))
        env.globals["range"] = self._range
        # the same commit must give the same files
        del env.filters["random"], env.globals["lipsum"]
        env.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": plain}

    def string(self, source: str, names: Names) -> str:
        """A string of a layer, rendered. Raises `Broken` and `Failed`."""
        template = self._strings.get(source)
        if template is None:
            template = self._strings[source] = self._guarded(lambda: self._environment.from_string(source), "", names)
        return self._render(template, "", names)

    def file(self, name: str, names: Names) -> str:
        """A file template, rendered. Raises `Broken` and `Failed`."""
        template = self._guarded(lambda: self._environment.get_template(name), name, names)
        return self._render(template, name, names)

    def check(self, source: str, name: str) -> None:
        """Raises `Broken` where a text is no template."""
        self._guarded(lambda: self._environment.compile(source, name), name, None)

    def _render(self, template: Template, name: str, names: Names) -> str:
        if self._depth == 0:
            self._rounds = MAX_ROUNDS
        self._depth += 1
        try:
            context = template.new_context({_SCOPE: names})
            return self._guarded(lambda: "".join(_limited(template.root_render_func(context), name)), name, names)
        finally:
            self._depth -= 1

    def _range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self._rounds -= len(numbers)
        if self._rounds < 0:
            raise SecurityError(f"the loops take more than {MAX_ROUNDS} rounds")
        return numbers

    def _guarded(self, act: Callable[[], _T], name: str, names: Names | None) -> _T:
        """What `act` gives. Code in a template can raise anything at all: every error is the template's."""
        try:
            return act()
        except (Failed, Broken):
            raise
        except Exception as error:  # noqa: BLE001 - see above
            raise self._broken(error, name, names) from None

    def _broken(self, error: Exception, name: str, names: Names | None) -> Broken:
        file, line = _place(error.__traceback__, name)
        if isinstance(error, TemplateSyntaxError):
            hint = self._syntax_hint(error.message or "")
            return Broken(
                f"the template does not parse: {error.message}", hint, _file(error.name or name), error.lineno
            )
        if isinstance(error, _UndefinedNameError):
            return _undefined(error, names, file, line)
        if isinstance(error, TemplateNotFound):
            hint = suggest(str(error.name), self._templates.known())
            return Broken(f"unknown template `{error.name}`", hint, file, line)
        if isinstance(error, RecursionError):
            return Broken("the template includes or calls itself without end", "", file, line, quotes=False)
        return Broken(f"the template fails: {str(error)[:300] or type(error).__name__}", "", file, line)

    def _syntax_hint(self, message: str) -> str:
        found = re.match(r"No (filter|test) named '(.*?)'", message)
        if not found:
            return "look for an unclosed {{ }}, {% %}, quote or bracket"
        known = self._environment.filters if found[1] == "filter" else self._environment.tests
        return suggest(found[2], known, otherwise=f"see the list of {found[1]}s of Jinja2")


def _limited(chunks: Iterator[str], name: str) -> Iterator[str]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_RENDERED:
            raise Broken(f"the text grows over {MAX_RENDERED} characters", "", _file(name), quotes=False)
        yield chunk


def _file(name: str) -> str:
    return FOLDER + name if name else ""


def _place(trace: TracebackType | None, name: str) -> tuple[str, int]:
    """The template and the line that an error came from: the innermost one on the way."""
    file, line = _file(name), 0
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            line = template.get_corresponding_lineno(trace.tb_lineno)
            file = _file(template.name or "")
        trace = trace.tb_next
    return file, line


_WITHIN_ONLY = {"service", "component", "version"}


def _undefined(error: _UndefinedNameError, names: Names | None, file: str, line: int) -> Broken:
    name = str(error.name)
    if error.owner is missing:
        if name in _WITHIN_ONLY:
            return Broken(
                f"`{name}` is not known here", "it is within components and services only", file, line, quotes=False
            )
        known = names.names() if names else set()
        return Broken(
            f"unknown name `{name}`", suggest(name, known, otherwise="set it under `vars`"), file, line, quotes=False
        )
    if isinstance(error.owner, Undefined):
        return Broken(str(error.message), "", file, line)
    keys = [str(key) for key in error.owner] if isinstance(error.owner, Mapping) else []
    return Broken(f"there is no `{name}` in it", suggest(name, keys), file, line)
