# Writes OUTPUT: the contents of FILES as raw string literals.
set(text "// Generated from architectures/*.json by cmake/embed.cmake.\n#include \"model/architecture.h\"\n\nnamespace gptq {\n\nconst std::vector<EmbeddedArchitecture>& EmbeddedArchitectures() {\n  static const std::vector<EmbeddedArchitecture> files = {\n")
foreach(file ${FILES})
  file(READ ${file} content)
  get_filename_component(name ${file} NAME)
  string(APPEND text "      {\"${name}\", R\"json(${content})json\"},\n")
endforeach()
string(APPEND text "  };\n  return files;\n}\n\n}  // namespace gptq\n")
file(WRITE ${OUTPUT} "${text}")
