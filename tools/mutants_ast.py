"""The mutations that can be made in a Python file, for mutants.py."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"), ast.Pow: ("**", "*"), ast.BitOr: ("|", "&"), ast.BitAnd: ("&", "|"),
}  # fmt: skip
OTHER_NAMES = {"sum": "mean", "mean": "sum", "min": "max", "max": "min", "any": "all", "all": "any", "argmax": "argmin"}
# Their arguments are words for people, not behaviour.
TALK = {"add_argument", "option", "print", "info", "warning", "warn", "debug", "error"}


@dataclass(frozen=True)
class Mutation:
    """One small change.

    Attributes:
        file: path from the root of the repository.
        line: of the change, from 1.
        function: qualified name of the function or class that it is in; "-" at the top of a file.
        change: what was there, and what is there now.
        source: the whole file before, in bytes as `start` and `end` count.
        start, end, new: what of it is replaced by what.
    """

    file: str
    line: int
    function: str
    change: str
    source: bytes
    start: int
    end: int
    new: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it in mutants_equivalent.txt, whatever happens to the lines above it."""
        return self.file, self.function, self.change

    def changed(self) -> str:
        """The whole file after the change."""
        return (self.source[: self.start] + self.new.encode() + self.source[self.end :]).decode()

    def parses(self) -> bool:
        """Whether the changed file is still Python."""
        try:
            ast.parse(self.changed())
        except SyntaxError:
            return False
        return True


def mutations_of(file: str, text: str) -> list[Mutation]:
    """All mutations of a file, a few of which do not parse; texts for people, annotations and errors stay."""
    return _Finder(file, text).found()


class _Finder:
    def __init__(self, file: str, text: str):
        self.file, self.source = file, text.encode()
        starts = [0]
        for line in self.source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self.starts = starts
        self.tree = ast.parse(text)

    def found(self) -> list[Mutation]:
        every = {}
        for node, function in _nodes(self.tree, ()):
            for old, new in self.changes(node):
                start, end = old
                every[start, end, new] = self.mutation(function, start, end, new)
        return list(every.values())

    def mutation(self, function, start, end, new) -> Mutation:
        """Named by the lines that the change is in, with the change between brackets."""
        first = self.source.rfind(b"\n", 0, start) + 1
        last = self.source.find(b"\n", end)
        before, after = self.source[first:start].decode(), self.source[end:last].decode()
        old = " ".join(self.source[start:end].decode().split())
        change = f"{before.lstrip()}[{old} -> {new}]{after.rstrip()}"
        line = self.source[:start].count(b"\n") + 1
        return Mutation(self.file, line, ".".join(function) or "-", change, self.source, start, end, new)

    def span(self, node) -> tuple[int, int]:
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def code(self, node) -> str:
        start, end = self.span(node)
        return self.source[start:end].decode()

    def operator(self, left, right, old: str, new: str) -> Iterator[tuple[tuple[int, int], str]]:
        """Another operator between two operands; brackets and comments may stand beside it."""
        start, end = self.span(left)[1], self.span(right)[0]
        at = self.source[start:end].find(old.encode())
        if at >= 0:
            yield (start + at, start + at + len(old)), new

    def changes(self, node) -> Iterator[tuple[tuple[int, int], str]]:
        """((start, end), new text) of each mutation of one node."""
        if isinstance(node, ast.Compare):
            for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                yield from self.operator(left, right, *COMPARISONS[type(op)])
        elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_text(node):
            yield from self.operator(node.left, node.right, *ARITHMETIC[type(node.op)])
        elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC and not _is_text(node):
            old, new = ARITHMETIC[type(node.op)]
            yield from self.operator(node.target, node.value, f"{old}=", f"{new}=")
        elif isinstance(node, ast.BoolOp):
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from self.operator(left, right, old, new)
        elif isinstance(node, ast.UnaryOp):
            yield self.span(node), f"({self.code(node.operand)})"
        elif isinstance(node, ast.Constant):
            yield from self.constant(node)
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)) and isinstance(
            node.test, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)
        ):
            yield self.span(node.test), f"(not {self.code(node.test)})"
        elif isinstance(node, ast.Slice):
            yield from self.slice(node)
        elif isinstance(node, ast.Call):
            yield from self.call(node)
        elif isinstance(node, ast.Return) and node.value and not _is_none(node.value):
            yield self.span(node.value), "None"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _name(node.value) not in TALK:
            yield self.span(node), "pass"

    def constant(self, node):
        value = node.value
        if isinstance(value, bool):
            yield self.span(node), str(not value)
        elif isinstance(value, (int, float)):
            yield self.span(node), repr(value + 1)
            yield self.span(node), repr(value - 1)

    def slice(self, node):
        for bound in (node.lower, node.upper):
            if bound is not None:
                yield self.span(bound), ""
                yield self.span(bound), f"{self.code(bound)} + 1"

    def call(self, node):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "detach":
            yield self.span(node), self.code(node.func.value)
        if _name(node) in OTHER_NAMES:
            end = self.span(node.func)[1]
            yield (end - len(_name(node)), end), OTHER_NAMES[_name(node)]
        for keyword in node.keywords:
            start, end = self.span(keyword)
            start = len(self.source[:start].rstrip())  # with the comma and the blanks before it
            if self.source[start - 1 : start] == b",":
                yield (start - 1, end), ""
            else:  # the first one: with the comma after it
                rest = self.source[end:]
                comma = len(rest) - len(rest.lstrip())
                yield (start, end + comma + 1 if rest[comma : comma + 1] == b"," else end), ""


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is_none(node) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node) -> bool:
    operands = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
    return any(
        isinstance(one, ast.JoinedStr) or (isinstance(one, ast.Constant) and isinstance(one.value, str))
        for one in operands
    )


def _nodes(node, function) -> Iterator[tuple]:
    """(node, names of the functions around) of whatever is behaviour."""
    if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)):
        return
    if isinstance(node, ast.Call) and _name(node) in TALK:
        return
    yield node, function
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        function = (*function, node.name)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _nodes(child, function)
