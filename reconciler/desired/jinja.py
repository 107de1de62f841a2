"""Where Jinja2 is used: a sandbox whose names are worked out when a template asks for them.

Imported only when a template needs it; the import alone takes as long as all the rest.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from time import thread_time
from types import TracebackType
from typing import Any, TypeVar, cast

from jinja2 import BaseLoader, StrictUndefined, Template, nodes, pass_environment
from jinja2.exceptions import SecurityError, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.filters import do_sum
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from reconciler.desired.problems import Failed, suggest
from reconciler.desired.rendering import FOLDER, MAX_RENDERED, Broken, Names, Sources, plain
from reconciler.host.memory import bounded

_T = TypeVar("_T")

MAX_ROUNDS = 1_000_000  # in one rendering: rounds of loops, and calls of macros, functions, filters and tests
MAX_SECONDS = 2.0  # of the processor, for one rendering
MAX_TOGETHER = 10.0  # seconds of the processor, for all renderings of one repo
MAX_MEMORY = 512 << 20  # bytes that a rendering may take
_LOOKS = 64  # rounds of a loop between two looks at the clock
_MAX_BITS = 100_000  # of a number
_MAX_FILTERED = 1 << 20  # characters of a text that a filter is given
_SIZED = frozenset(["batch", "center", "indent", "round", "slice", "tojson", "wordwrap"])  # filters that take a size
_SLOW = {"wordwrap": 1 << 14, "urlize": 1 << 14}  # filters whose time grows with the square of it
_COUNTED = "the rounds"  # a filter that no template can name
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

    def __init__(self, tick: Callable[..., None], **settings: Any) -> None:
        super().__init__(**settings)
        self._tick = tick
        self.filters["sum"] = _sum
        for known in (self.filters, self.tests):
            known.update({name: _ticking(tick, name, cast("Callable[..., Any]", act)) for name, act in known.items()})
        self.filters[_COUNTED] = self._counted

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Every loop counts its rounds."""
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.iter.lineno)
        return tree

    def _counted(self, values: Any) -> Any:
        return values if isinstance(values, (range, Undefined)) else self._each(values)

    def _each(self, values: Any) -> Iterator[Any]:
        for number, value in enumerate(values):
            self._tick(look=not number % _LOOKS)
            yield value

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._tick()
        if isinstance(getattr(obj, "__self__", None), (str, bytes)) and not obj.__name__.startswith("format"):
            _check_sizes((*args, *kwargs.values()))
        return super().call(context, obj, *args, **kwargs)

    def get_template(self, *args: Any, **kwargs: Any) -> Template:
        """Of an include too."""
        self._tick()
        return super().get_template(*args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of a mapping wins over a method of the same name: `vars` may well have `items`."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuses what would fill the memory, or never end."""
        if operator == "**" and isinstance(right, int) and abs(right) > 1000:
            raise SecurityError("the exponent is too large")
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _MAX_BITS:
                raise SecurityError("the number is too large")
        for one, other in ((left, right), (right, left)):
            if (
                isinstance(one, (str, bytes, list, tuple))
                and isinstance(other, int)
                and len(one) * other > MAX_RENDERED
            ):
                raise SecurityError("the repetition is too long")
        return super().call_binop(context, operator, left, right)


def _ticking(tick: Callable[..., None], name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """The same filter or test, which counts, and is given nothing that would take too long."""
    longest = _SLOW.get(name, _MAX_FILTERED)

    @wraps(act)
    def ticked(*args: Any, **kwargs: Any) -> Any:
        tick()
        if name in _SIZED:
            _check_sizes((*args[1:], *kwargs.values()))
        if any(isinstance(value, (str, bytes)) and len(value) > longest for value in args):
            raise SecurityError(f"the text is too long for `{name}`")
        return act(*args, **kwargs)

    return ticked


@pass_environment
def _sum(environment: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    """Jinja2's own, for numbers only: lists would be copied over and over."""
    if not isinstance(start, (int, float)):
        raise SecurityError("`sum` adds numbers")
    return do_sum(environment, iterable, attribute, start)


def _check_sizes(args: Iterable[Any]) -> None:
    if any(isinstance(value, int) and abs(value) > MAX_ROUNDS for value in args):
        raise SecurityError(f"a size is larger than {MAX_ROUNDS}")


class Engine:
    """Compiles and renders. Whatever goes wrong in a template comes out as `Broken`."""

    def __init__(self, templates: Sources) -> None:
        self._templates = templates
        self._strings: dict[str, Template] = {}
        self._rounds = MAX_ROUNDS
        self._left = MAX_TOGETHER
        self._until = 0.0  # by the clock of this thread's use of the processor; 0: nothing is rendered
        self._environment = env = _Environment(
            self._tick,
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
        context = template.new_context({_SCOPE: names})
        return self._guarded(lambda: "".join(self._limited(template.root_render_func(context), name)), name, names)

    def _limited(self, chunks: Iterator[str], name: str) -> Iterator[str]:
        size = 0
        for number, chunk in enumerate(chunks):
            self._tick(look=not number % _LOOKS)
            size += len(chunk)
            if size > MAX_RENDERED:
                raise Broken(f"the text grows over {MAX_RENDERED} characters", "", _file(name), quotes=False)
            yield chunk

    def _tick(self, rounds: int = 1, *, look: bool = True) -> None:
        """`look`: at the clock, which takes longer than all the rest."""
        self._rounds -= rounds
        if self._rounds < 0:
            raise SecurityError(f"the loops and calls take more than {MAX_ROUNDS} rounds")
        if look and self._until and thread_time() > self._until:
            raise SecurityError(f"it takes more than {MAX_SECONDS:g} s, or all templates together {MAX_TOGETHER:g} s")

    def _range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self._tick(len(numbers))
        return numbers

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Rounds, time and memory, for the outermost rendering with all that it asks for on the way."""
        if self._until:
            yield
            return
        began = thread_time()
        self._rounds, self._until = MAX_ROUNDS, began + min(MAX_SECONDS, max(self._left, 0.001))
        try:
            with bounded(MAX_MEMORY):
                yield
        finally:
            self._left -= thread_time() - began
            self._until = 0.0

    def _guarded(self, act: Callable[[], _T], name: str, names: Names | None) -> _T:
        """What `act` gives. Code in a template can raise anything at all: every error is the template's."""
        try:
            with self._bounded():
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
        if isinstance(error, MemoryError):
            return Broken(f"the template takes more than {MAX_MEMORY >> 20} MiB", "", file, line, quotes=False)
        if isinstance(error, RecursionError):
            return Broken("the template includes or calls itself without end", "", file, line, quotes=False)
        return Broken(f"the template fails: {str(error)[:300] or type(error).__name__}", "", file, line)

    def _syntax_hint(self, message: str) -> str:
        found = re.match(r"No (filter|test) named '(.*?)'", message)
        if not found:
            return "look for an unclosed {{ }}, {% %}, quote or bracket"
        known = self._environment.filters if found[1] == "filter" else self._environment.tests
        return suggest(found[2], known, otherwise=f"see the list of {found[1]}s of Jinja2")


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
