# Files that the binary carries as literals, written at configure time.

# The files of the page that vibee serve shows, as one literal each.
set(ui ${CMAKE_SOURCE_DIR}/src/vibee/app/server/ui)
set(pages "")
foreach(file index.html app.js app.css)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ui}/${file})
  file(READ ${ui}/${file} text)
  string(APPEND pages "{\"${file}\", R\"vibee~(${text})vibee~\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/vibee/ui_files.inc CONTENT "@pages@" @ONLY)

# The hardware profiles, as one literal each.
file(GLOB profiles CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/data/hw/*.json)
set(texts "")
foreach(profile ${profiles})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${profile})
  get_filename_component(id ${profile} NAME_WE)
  file(READ ${profile} text)
  string(APPEND texts "{\"${id}\", R\"vibee~(${text})vibee~\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/vibee/hardware_profiles.inc CONTENT "@texts@" @ONLY)

# The grammar of `vibee data stories`, in literals of a length that every compiler takes.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/data/stories.txt)
file(READ ${CMAKE_SOURCE_DIR}/data/stories.txt text)
string(REPLACE "\n[" ")vibee~\"\nR\"vibee~(\n[" text "${text}")
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/vibee/stories.inc CONTENT "R\"vibee~(@text@)vibee~\"\n" @ONLY)

# The model that is used when none is named (docs/default_model.md), taken in by the assembler.
set(model ${CMAKE_SOURCE_DIR}/data/stories_model.gguf)
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/vibee/model/weight/builtin_model.cc PROPERTIES
  COMPILE_DEFINITIONS "VIBEE_BUILTIN_MODEL=\"${model}\"" OBJECT_DEPENDS ${model})
