"""The generated code is what protoc makes of the definition, and its types are those of the definition."""

from __future__ import annotations

import ast
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import penstock_grpc
from penstock_grpc._proto import agent_v1_pb2 as pb
from penstock_grpc.service import INFO, SERVICE, SESSION

_PACKAGE = Path(inspect.getfile(penstock_grpc)).parent
_PYTHON = {"TYPE_STRING": "str", "TYPE_BYTES": "bytes", "TYPE_BOOL": "bool", "TYPE_UINT32": "int", "TYPE_INT64": "int"}


def test_the_checked_in_code_is_what_protoc_makes(tmp_path):
    source = tmp_path / "penstock_grpc" / "_proto" / "agent_v1.proto"
    source.parent.mkdir(parents=True)
    shutil.copy(_PACKAGE / "_proto" / "agent_v1.proto", source)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}", f"--python_out={tmp_path}", str(source)]
    subprocess.run(command, check=True)
    made = source.with_name("agent_v1_pb2.py").read_text()
    assert (_PACKAGE / "_proto" / "agent_v1_pb2.py").read_text() == made


def test_the_service_has_its_name_and_version():
    assert (SERVICE, INFO, SESSION) == (
        "penstock.agent.v1.Agent",
        "/penstock.agent.v1.Agent/Info",
        "/penstock.agent.v1.Agent/Session",
    )


def test_the_types_written_by_hand_are_those_of_the_definition():
    tree = ast.parse((_PACKAGE / "_proto" / "agent_v1_pb2.pyi").read_text())
    written = {node.name: _members(node) for node in tree.body if isinstance(node, ast.ClassDef)}
    assert written == {name: _fields(message) for name, message in pb.DESCRIPTOR.message_types_by_name.items()}


def _members(node):
    """Of a class in the stub: names and types of what is no method, and the keywords that it is made with."""
    members = {item.target.id: ast.unparse(item.annotation) for item in node.body if isinstance(item, ast.AnnAssign)}
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and any(ast.unparse(each) == "property" for each in item.decorator_list):
            members[item.name] = ast.unparse(item.returns)
    (made,) = (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
    keywords = {argument.arg: ast.unparse(argument.annotation) for argument in made.args.kwonlyargs}
    assert keywords == members
    return members


def _fields(message):
    return {field.name: _type_of(field) for field in message.fields}


def _type_of(field):
    if field.message_type is not None:
        name = field.message_type.name
        return f"Sequence[{name}]" if field.is_repeated else name
    names = {getattr(type(field), name): python for name, python in _PYTHON.items()}
    return names[field.type]
