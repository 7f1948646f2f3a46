"""Writes the metadata of a GGUF file without its tensors: extract_vocabulary.py IN.gguf OUT.gguf (needs the package gguf)."""
import sys

from gguf import GGUFReader, GGUFValueType, GGUFWriter

reader = GGUFReader(sys.argv[1])
architecture = reader.fields["general.architecture"].contents()
writer = GGUFWriter(sys.argv[2], architecture)
for field in reader.fields.values():
    if field.name.startswith("GGUF.") or field.name == "general.architecture":
        continue
    if not field.name.startswith(("general.", "tokenizer.")):
        continue
    sub_type = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
    writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=sub_type)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.close()
