# The files of the page that vibee serve shows, as one literal each: what the server embeds. Written at configure time.
set(ui ${CMAKE_SOURCE_DIR}/src/vibee/app/server/ui)
set(pages "")
foreach(file index.html app.js app.css)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ui}/${file})
  file(READ ${ui}/${file} text)
  string(APPEND pages "{\"${file}\", R\"vibee~(${text})vibee~\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/vibee/ui_files.inc CONTENT "@pages@" @ONLY)
