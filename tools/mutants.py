"""Small changes of a source file that tests should notice."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# No behaviour hangs on these: annotations, messages, what is imported, our own assertions, and
# zip(strict=True), which is one of them.
SKIPPED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)
SKIPPED_FIELDS = {"annotation", "returns", "decorator_list", "bases"}
SKIPPED_KEYWORDS = {"strict", "annotations"}
OPERATORS: dict[type, type] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift},
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
}
# Calls whose result has the shape of what they are called on, so that leaving them out still runs.
KEEPS_SHAPE = {
    *("relu", "sigmoid", "tanh", "softmax", "log_softmax", "clamp", "abs", "contiguous", "float"),
    *("transpose", "permute", "cumsum", "copy", "long", "bool", "double", "detach", "clone"),
}
ANY_ORDER = {"transpose", "swapaxes"}  # of two arguments: the other order is the same call
LAYERS_THAT_KEEP_SHAPE = {"GELU", "ReLU", "ReLU6", "Hardswish", "Sigmoid", "LayerNorm"} | {
    *("Dropout", "BatchNorm1d", "BatchNorm2d")
}


@dataclass(frozen=True)
class Mutant:
    """One change of a file."""

    path: str
    line: int
    column: int
    change: str  # old -> new
    function_line: int | None  # first line of the function it is in, decorators included
    source: str  # of the whole file, changed

    @property
    def key(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.change}"


@dataclass
class _Site:
    """A field of a node, or an element of it, that can hold something else."""

    parent: Any
    field: str
    index: int | None

    def get(self) -> Any:
        value = getattr(self.parent, self.field)
        return value if self.index is None else value[self.index]

    def put(self, node: Any) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def make_mutants(path: str, source: str) -> list[Mutant]:
    """All changes of a file, in its order."""
    tree = ast.parse(source)
    found = []
    for site, function in _sites(tree, None):
        node = site.get()
        for new in _replacements(node, site, function):
            change = f"{_shown(node)} -> {_shown(new)}"
            site.put(new)
            changed = ast.unparse(ast.fix_missing_locations(tree))
            site.put(node)
            place = node.lineno, node.col_offset + 1
            found.append(Mutant(path, *place, change, _first_line(function), changed))
    return found


def _first_line(function: ast.FunctionDef | None) -> int | None:
    if function is None:
        return None
    return min([function.lineno, *(node.lineno for node in function.decorator_list)])


def _shown(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _sites(
    node: ast.AST, function: ast.FunctionDef | None
) -> Iterator[tuple[_Site, ast.FunctionDef | None]]:
    """Every place below a node that may be changed, and the function it is in."""
    if isinstance(node, ast.FunctionDef):
        function = node
    for field, value in ast.iter_fields(node):
        if field in SKIPPED_FIELDS:
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or _is_skipped(child):
                continue
            if isinstance(child, ast.stmt | ast.expr):
                yield _Site(node, field, index if isinstance(value, list) else None), function
            yield from _sites(child, function)


def _is_skipped(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        is_docstring = isinstance(node.value, ast.Constant)
        return is_docstring or _shown(node).startswith(("logger.", "super().__init__()"))
    if isinstance(node, ast.Assign):
        return _shown(node.targets[0]).split(".")[-1] in ("__all__", "__doc__", "logger")
    if isinstance(node, ast.keyword):
        return node.arg in SKIPPED_KEYWORDS
    return isinstance(node, SKIPPED)


def _replacements(node: ast.AST, site: _Site, function: ast.FunctionDef | None) -> Iterator[Any]:
    kind: Callable[..., Iterator[Any]] | None = {
        ast.BinOp: _other_operator,
        ast.AugAssign: _without_or_other_operator,
        ast.Compare: _other_comparison,
        ast.BoolOp: _other_operator,
        ast.UnaryOp: _without_sign,
        ast.Constant: _other_constant,
        ast.Call: _other_call,
        ast.If: _negated,
        ast.IfExp: _negated,
        ast.Expr: _nothing,
        ast.Return: _returns_none,
    }.get(type(node))
    if kind is not None:
        yield from kind(node)
    if isinstance(node, ast.Name) and function is not None and _is_operand(node, site):
        yield from _other_name(node, function)


def _other_operator(node: Any) -> Iterator[ast.AST]:
    if type(node.op) in OPERATORS:
        yield _changed(node, op=OPERATORS[type(node.op)]())


def _without_or_other_operator(node: ast.AugAssign) -> Iterator[ast.AST]:
    yield from _other_operator(node)
    yield from _nothing(node)


def _other_comparison(node: ast.Compare) -> Iterator[ast.AST]:
    if type(node.ops[0]) in OPERATORS:
        yield _changed(node, ops=[OPERATORS[type(node.ops[0])](), *node.ops[1:]])


def _without_sign(node: ast.UnaryOp) -> Iterator[ast.AST]:
    yield node.operand


def _other_constant(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield _changed(node, value=not value)
    elif isinstance(value, int | float):
        yield _changed(node, value=value + 1)
    elif isinstance(value, str):
        yield _changed(node, value=value + "?")
    elif isinstance(value, bytes):
        yield _changed(node, value=value + b"?")
    elif value is None:
        yield _changed(node, value=0)


def _other_call(node: ast.Call) -> Iterator[ast.AST]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else None
    positional, keywords = node.args, node.keywords
    for i in range(len(positional)):
        if name == "Sequential":
            yield _changed(node, args=[*positional[:i], *positional[i + 1 :]])
        is_other = i > 0 and _shown(positional[i]) != _shown(positional[i - 1])
        if is_other and name not in ANY_ORDER:
            swapped = [*positional[: i - 1], positional[i], positional[i - 1], *positional[i + 1 :]]
            yield _changed(node, args=swapped)
    for i, keyword in enumerate(keywords):
        if keyword.arg not in (None, *SKIPPED_KEYWORDS):
            yield _changed(node, keywords=[*keywords[:i], *keywords[i + 1 :]])
    if len(positional) == 1 and not keywords and not isinstance(positional[0], ast.Starred):
        yield positional[0]  # what the function does is left out
    if name in KEEPS_SHAPE and isinstance(node.func, ast.Attribute):
        yield node.func.value
    if name in LAYERS_THAT_KEEP_SHAPE and isinstance(node.func, ast.Attribute):
        yield _changed(node, func=_changed(node.func, attr="Identity"))


def _negated(node: Any) -> Iterator[ast.AST]:
    yield _changed(node, test=ast.UnaryOp(ast.Not(), node.test))


def _nothing(node: ast.stmt) -> Iterator[ast.AST]:
    yield ast.copy_location(ast.Pass(), node)


def _returns_none(node: ast.Return) -> Iterator[ast.AST]:
    if node.value is not None and not isinstance(node.value, ast.Constant):
        yield _changed(node, value=ast.Constant(None))


def _is_operand(node: ast.Name, site: _Site) -> bool:
    """Whether a name stands as an argument or an operand, and not as what is called or stored."""
    if not isinstance(node.ctx, ast.Load):
        return False
    is_argument = isinstance(site.parent, ast.Call) and site.field == "args"
    is_receiver = isinstance(site.parent, ast.Attribute)
    return is_argument or is_receiver or isinstance(site.parent, ast.BinOp | ast.keyword)


def _other_name(node: ast.Name, function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The next of the function's arguments and variables in place of this one."""
    arguments = function.args
    names = [
        argument.arg
        for argument in [*arguments.args, *arguments.kwonlyargs]
        if argument.arg != "self"
    ]
    for child in ast.walk(function):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            names.append(child.id)
    names = list(dict.fromkeys(names))
    if node.id in names and len(names) > 1:
        yield _changed(node, id=names[(names.index(node.id) + 1) % len(names)])


def _changed(node: Any, **fields: Any) -> Any:
    """A copy of a node with other fields."""
    copy = type(node)(**{**dict(ast.iter_fields(node)), **fields})
    return ast.copy_location(copy, node)
