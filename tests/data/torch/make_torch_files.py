#!/usr/bin/env python3
"""Writes the files of this folder as torch.save would, with Python's own pickle and zipfile (no torch needed).

Element k of every storage holds the value k - 3 (unsigned types: k; bool: k % 2).
"""

import collections
import pickle
import struct
import sys
import types
import zipfile


def module(name):
    found = sys.modules[name] = types.ModuleType(name)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, found)
    return found


def named(owner, name, value):
    """`value` under the name by which pickles will look for it."""
    value.__module__, value.__name__, value.__qualname__ = owner.__name__, name, name
    setattr(owner, name, value)
    return value


torch = module("torch")
for name in ("torch._utils", "torch._tensor", "torch.storage", "torch.nn", "torch.nn.parameter"):
    module(name)
FUNCTIONS = {}
for owner, name in (("torch._utils", "_rebuild_tensor"), ("torch._utils", "_rebuild_tensor_v2"),
                    ("torch._utils", "_rebuild_tensor_v3"), ("torch._utils", "_rebuild_parameter"),
                    ("torch._utils", "_rebuild_parameter_with_state"), ("torch._tensor", "_rebuild_from_type_v2")):
    FUNCTIONS[name] = named(sys.modules[owner], name, lambda *arguments: None)
TensorType = named(torch, "Tensor", type("Tensor", (), {}))
ParameterType = named(sys.modules["torch.nn.parameter"], "Parameter", type("Parameter", (), {}))
Untyped = named(sys.modules["torch.storage"], "UntypedStorage", type("UntypedStorage", (), {}))


class DType:
    """torch.float32 and the like are pickled by name."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return self.name


def bfloat16(value):
    return struct.pack("<f", value)[2:]


TYPES = {
    "Double": lambda k: struct.pack("<d", k - 3), "Float": lambda k: struct.pack("<f", k - 3),
    "Half": lambda k: struct.pack("<e", k - 3), "BFloat16": lambda k: bfloat16(k - 3),
    "Long": lambda k: struct.pack("<q", k - 3), "Int": lambda k: struct.pack("<i", k - 3),
    "Short": lambda k: struct.pack("<h", k - 3), "Char": lambda k: struct.pack("<b", k - 3),
    "Byte": lambda k: struct.pack("<B", k), "Bool": lambda k: struct.pack("<B", k % 2),
}
for name in TYPES:
    named(torch, name + "Storage", type(name + "Storage", (), {}))
DTYPE_FLOAT = DType("float32")
torch.float32 = DTYPE_FLOAT
DTYPE_FLOAT.__class__.__module__ = "torch"


class Storage:
    def __init__(self, key, kind, count, view=None, untyped=False):
        self.key, self.count, self.view = str(key), count, view
        self.type = Untyped if untyped else getattr(torch, kind + "Storage")
        self.bytes = b"".join(TYPES[kind](k) for k in range(count))
        if untyped:
            self.count = len(self.bytes)


class Reduced:
    """Pickled as a call of one of FUNCTIONS."""

    def __init__(self, function, *arguments):
        self.call = FUNCTIONS[function], arguments

    def __reduce__(self):
        return self.call


def tensor(storage, offset, shape, strides):
    return Reduced("_rebuild_tensor_v2", storage, offset, shape, strides, False, collections.OrderedDict())


class WithMetadata(collections.OrderedDict):
    """nn.Module.state_dict(): an OrderedDict with an attribute."""

    def __reduce__(self):
        return collections.OrderedDict, (), {"_metadata": {"": {"version": 1}}}, None, iter(self.items())


def table():
    storages = {kind: Storage(i, kind, 12) for i, kind in enumerate(TYPES)}
    floats = storages["Float"]
    untyped = Storage(len(TYPES), "Float", 6, untyped=True)
    tensors = WithMetadata()
    for kind, storage in storages.items():
        tensors[kind] = tensor(storage, 0, (3, 4), (4, 1))
    tensors["offset"] = tensor(storages["Half"], 5, (2, 2), (2, 1))
    tensors["transposed"] = tensor(floats, 0, (4, 3), (1, 4))
    tensors["strided"] = tensor(storages["BFloat16"], 1, (2, 2), (6, 3))
    tensors["scalar"] = tensor(storages["Long"], 7, (), ())
    tensors["empty"] = tensor(floats, 0, (0, 4), (4, 1))
    tensors["row"] = tensor(floats, 4, (1, 4), (999, 1))
    tensors["shared"] = tensor(floats, 0, (12,), (1,))
    tensors["parameter"] = Reduced("_rebuild_parameter", tensor(floats, 8, (4,), (1,)), True,
                                   collections.OrderedDict())
    tensors["parameter_with_state"] = Reduced("_rebuild_parameter_with_state", tensor(floats, 8, (4,), (1,)), True,
                                              collections.OrderedDict(), {"tag": 1})
    tensors["from_type"] = Reduced("_rebuild_from_type_v2", FUNCTIONS["_rebuild_tensor_v2"], TensorType,
                                   (floats, 8, (4,), (1,), False, collections.OrderedDict()), {"tag": 1})
    tensors["v1"] = Reduced("_rebuild_tensor", floats, 8, (4,), (1,))
    tensors["v3"] = Reduced("_rebuild_tensor_v3", untyped, 2, (4,), (1,), False, collections.OrderedDict(),
                            DTYPE_FLOAT)
    return tensors, [*storages.values(), untyped]


def dump(value, protocol, legacy=False):
    import io
    stream = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if not isinstance(item, Storage):
                return None
            view = (item.view,) if legacy else ()
            return ("storage", item.type, item.key, "cpu", item.count) + view

    Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def write_zip(path, value, storages, protocol=2, byteorder=b"little", compression=zipfile.ZIP_STORED):
    # Fixed dates: the same bytes each time.
    with zipfile.ZipFile(path, "w", compression) as archive:
        def add(name, content):
            archive.writestr(zipfile.ZipInfo("archive/" + name), content, compression)
        add("data.pkl", dump(value, protocol))
        add("byteorder", byteorder)
        for storage in storages:
            add("data/" + storage.key, storage.bytes)
        add("version", b"3\n")


def write_legacy(path, value, storages):
    with open(path, "wb") as file:
        for head in (0x1950a86a20f9469cfc6c, 1001,
                     {"protocol_version": 1001, "little_endian": True,
                      "type_sizes": {"short": 2, "int": 4, "long": 4}}):
            pickle.dump(head, file, 2)
        file.write(dump(value, 2, legacy=True))
        pickle.dump([storage.key for storage in storages], file, 2)
        for storage in storages:
            # Untyped storages came after this format.
            file.write(struct.pack("<q", storage.count) + storage.bytes)


def main():
    folder = sys.argv[1]
    tensors, storages = table()
    write_zip(folder + "/zip.bin", tensors, storages)
    write_zip(folder + "/zip_protocol4.bin", dict(tensors), storages, protocol=4)
    write_zip(folder + "/training.pt", {"epoch": 3, "loss": 0.5, "state_dict": tensors}, storages)
    write_zip(folder + "/big_endian.bin", tensors, storages, byteorder=b"big")
    write_zip(folder + "/compressed.bin", tensors, storages, compression=zipfile.ZIP_DEFLATED)

    old = collections.OrderedDict((name, value) for name, value in tensors.items() if name != "v3")
    viewed = Storage(storages[1].key, "Float", 12, view=("viewed", 4, 6))
    old["viewed"] = tensor(viewed, 1, (5,), (1,))
    write_legacy(folder + "/legacy.bin", old, storages[:-1])


if __name__ == "__main__":
    main()
