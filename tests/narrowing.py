"""Prints where the modules that can be compiled ask an attribute what mypy thinks to know: `python -m tests.narrowing`.

Between a look at an attribute and the next one, a call may have changed it. mypy does not see that: it goes on with the
narrower type. Compiled, such a look is a TypeError where the attribute is something else by then. So what has changed
meanwhile is asked of a local name, of another attribute, or in another method.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

from mypy.build import build
from mypy.expandtype import expand_type_by_instance
from mypy.maptype import map_instance_to_supertype
from mypy.modulefinder import BuildSource
from mypy.nodes import ComparisonExpr, Expression, MemberExpr, MypyFile, Statement, TypeInfo, Var
from mypy.options import Options
from mypy.types import Instance, Type, UnionType, get_proper_type

import compiling


def nodes_of(tree: MypyFile) -> Iterator[object]:
    """The statements and expressions of a module."""
    seen: set[int] = set()
    waiting: list[object] = [*tree.defs]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list | tuple):
            waiting += node
        elif isinstance(node, Statement | Expression) and not isinstance(node, TypeInfo) and id(node) not in seen:
            seen.add(id(node))
            waiting += gc.get_referents(node)
            yield node


def declared(attribute: MemberExpr, types: dict[Expression, Type]) -> Type | None:
    """The type that a class declares for an attribute."""
    owner = get_proper_type(types.get(attribute.expr))
    symbol = owner.type.get(attribute.name) if isinstance(owner, Instance) else None
    variable = symbol.node if symbol is not None else None
    if not isinstance(owner, Instance) or not isinstance(variable, Var) or variable.type is None:
        return None
    # In a generic class type variables may stand for others than where it was declared.
    declarer = map_instance_to_supertype(owner, variable.info)
    return get_proper_type(expand_type_by_instance(variable.type, declarer))


def main() -> None:
    options = Options()
    options.export_types = options.preserve_asts = options.ignore_missing_imports = True
    options.incremental = False
    sources = [BuildSource(f"tornadio/{name}.py", f"tornadio.{name.replace('/', '.')}") for name in compiling.MODULES]
    built = build(sources, options)
    for source in sources:
        tree = built.graph[source.module or ""].tree
        assert tree is not None
        for node in nodes_of(tree):
            if not isinstance(node, ComparisonExpr) or not {"is", "is not"} & set(node.operators):
                continue
            for operand in node.operands:
                kind = declared(operand, built.types) if isinstance(operand, MemberExpr) else None
                if isinstance(kind, UnionType) and get_proper_type(built.types.get(operand)) != kind:
                    print(f"{source.path}:{operand.line}: {operand.name} may be {kind}")  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
