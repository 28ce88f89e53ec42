# What app/catalog embeds: the lines of data/tree.csv, and one include a techniques.inc. Written at configure time, before the
# folders are made; a new techniques.inc or a changed tree.csv configures again.
set(generated ${CMAKE_BINARY_DIR}/generated/vibee)

set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/data/tree.csv)
file(READ ${CMAKE_SOURCE_DIR}/data/tree.csv text)
string(STRIP "${text}" text)
string(REPLACE "\\" "\\\\" text "${text}")
string(REPLACE "\"" "\\\"" text "${text}")
string(REPLACE "\n" "\",\n\"" text "${text}")
file(CONFIGURE OUTPUT ${generated}/tree_lines.inc CONTENT "\"@text@\"\n" @ONLY)

file(GLOB_RECURSE tables CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/src/vibee/techniques.inc)
list(SORT tables)
set(includes "")
foreach(table ${tables})
  get_filename_component(folder ${table} DIRECTORY)
  string(REGEX REPLACE "^vibee/" "" family ${folder})
  string(REPLACE "/" "_" family ${family})
  string(APPEND includes "#define VIBEE_FAMILY ${family}\n#define VIBEE_FOLDER \"src/${folder}\"\n#include \"${table}\"\n"
         "#undef VIBEE_FAMILY\n#undef VIBEE_FOLDER\n")
endforeach()
file(CONFIGURE OUTPUT ${generated}/techniques_all.inc CONTENT "@includes@" @ONLY)

file(CONFIGURE OUTPUT ${generated}/version.h CONTENT "// Written by cmake/tree.cmake.
#pragma once
namespace vibee {
inline constexpr const char* kVersion = \"@PROJECT_VERSION@\";
inline constexpr const char* kCompiler = \"@CMAKE_CXX_COMPILER_ID@ @CMAKE_CXX_COMPILER_VERSION@\";
}
" @ONLY)
