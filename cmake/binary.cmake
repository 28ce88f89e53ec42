# The binary: src/vibee/app/cli/main.cc is part of the library vibee_app_cli; checks and benches are leaves that only it links.
get_property(leaves GLOBAL PROPERTY VIBEE_LEAVES)
if(EXISTS ${CMAKE_SOURCE_DIR}/src/main.cc)
  add_executable(vibee ${CMAKE_SOURCE_DIR}/src/main.cc ${leaves})
  target_link_libraries(vibee PRIVATE vibee_app_cli)
endif()
