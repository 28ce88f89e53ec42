# The leaves (x_check.cc, x_bench.cc of every folder) and the binary. app/catalog refers to the leaves from its table of
# techniques, so a row that says `own` without its function does not link.
get_property(leaves GLOBAL PROPERTY VIBEE_LEAVES)
get_property(libraries GLOBAL PROPERTY VIBEE_LIBRARIES)
list(FILTER libraries EXCLUDE REGEX "^vibee_app_")
if(leaves)
  add_library(vibee_leaves STATIC ${leaves})
  target_link_libraries(vibee_leaves PUBLIC vibee_options vibee_kit ${libraries})
  target_link_libraries(vibee_app_catalog PUBLIC vibee_leaves)
endif()

add_executable(vibee ${CMAKE_SOURCE_DIR}/src/main.cc)
target_link_libraries(vibee PRIVATE vibee_app_cli)
# Addresses that only move with the whole program as a bitmap: the table of them would be read, and stay, at every start.
include(CheckLinkerFlag)
check_linker_flag(CXX LINKER:-z,pack-relative-relocs VIBEE_PACKS_RELOCATIONS)
if(VIBEE_PACKS_RELOCATIONS)
  target_link_options(vibee PRIVATE LINKER:-z,pack-relative-relocs)
endif()
